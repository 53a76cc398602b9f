/*-------------------------------------------------------------------------
 *
 * simulate.c
 *		Simulations inside a server process, called by an SQL function.
 *
 * simulate(seed, seconds) runs the worlds of this seed and the following ones
 * until the time is up, at least one, and prints what it has seen.  The first
 * thing that must not be is reported with the seed and the last steps, and
 * ends the process.
 *
 *-------------------------------------------------------------------------
 */
#include "simulate.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(simulate);

#define STEPS 150

typedef struct Step
{
	int64		vt;
	const char *format;
	int64		n[6];
} Step;

static Sim *current = NULL;
static Step steps[STEPS];
static int64 nsteps = 0;

void
trace(const char *format, int64 a, int64 b, int64 c, int64 d, int64 e, int64 f)
{
	steps[nsteps++ % STEPS] = (Step)
	{
		current->vt - current->started_vt, format,
		{
			a, b, c, d, e, f
		}
	};
}

static void
print_steps(void)
{
	for (int64 i = Max(nsteps - STEPS, 0); i < nsteps; i++)
	{
		const Step *s = &steps[i % STEPS];

		printf("%14.6f  ", s->vt / 1e6);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		printf(s->format, (long long) s->n[0], (long long) s->n[1], (long long) s->n[2],
			   (long long) s->n[3], (long long) s->n[4], (long long) s->n[5]);
#pragma GCC diagnostic pop
		printf("\n");
	}
}

void
violation(const char *format,...)
{
	va_list		args;

	printf("\nseed %lld: ", (long long) current->seed);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nlimits: %d, of a user %d, of a host %d, aside %d; %d users, %d hooks, %d hosts\n",
		   current->limits.total, current->limits.per_user, current->limits.per_host,
		   current->limits.aside_per_user, current->nusers, current->nhooks, current->nhosts);
	print_steps();
	printf("\nseed %lld: FAILED; once more: script/simulate 0 %lld\n",
		   (long long) current->seed, (long long) current->seed);
	fflush(stdout);
	_exit(1);
}

int64
draw_magnitude(Sim *sim, int64 least, int64 most)
{
	int64		bottom = Max(least, 1);
	int			doublings = 0;
	int64		n;

	while (bottom <= (most >> doublings))
		doublings++;
	if (doublings == 0)
		return least;
	bottom <<= draw(sim, doublings);
	n = least + draw(sim, bottom * 2 - least);
	return Min(n, most);
}

/* simulate(seed int8, seconds float8) returns void */
Datum
simulate(PG_FUNCTION_ARGS)
{
	int64		seed = PG_GETARG_INT64(0);
	double		seconds = PG_GETARG_FLOAT8(1);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "simulate",
												  ALLOCSET_DEFAULT_SIZES);
	instr_time	start;
	instr_time	now;
	int			seeds = 0;
	int64		deliveries = 0;
	int64		attempts = 0;
	int64		crashes = 0;
	double		hours = 0;

	INSTR_TIME_SET_CURRENT(start);
	do
	{
		MemoryContext previous = MemoryContextSwitchTo(context);

		current = palloc0(sizeof(Sim));
		nsteps = 0;
		current->seed = seed + seeds;
		current->random = (uint64) current->seed;
		check_retries(current);
		world_make(current);
		loop_run(current);

		seeds++;
		deliveries += current->ndeliveries;
		attempts += current->attempts;
		crashes += current->crashes;
		hours += (current->vt - current->started_vt) / 3600e6;
		MemoryContextSwitchTo(previous);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
	} while (INSTR_TIME_GET_DOUBLE(now) < seconds);

	printf("\n%d seeds from %lld, %lld deliveries, %lld attempts, %lld crashes, %.0f virtual hours: nothing found\n",
		   seeds, (long long) seed, (long long) deliveries, (long long) attempts,
		   (long long) crashes, hours);
	fflush(stdout);
	PG_RETURN_VOID();
}
