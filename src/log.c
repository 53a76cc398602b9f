/*-------------------------------------------------------------------------
 *
 * log.c
 *		Results → rows of stream_hook_logs, in batches.
 *
 * The log is the application's table: what it has put there (triggers,
 * checks, foreign keys, policies) runs as the table's owner and may fail or
 * wait.  A batch that fails is written again row by row; rows that run into
 * somebody's lock are tried again later, other rows that fail are counted and
 * reported in the server log, once a minute.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "log.h"
#include "settings.h"
#include "tables.h"

/* What the log keeps of an error message, in bytes. */
#define MAX_ERROR 500

/* Rows that wait for somebody's lock, at most. */
#define MAX_LOCKED_OUT 10000

/* After so many locks in the way, a careful write gives up on the rest. */
#define MAX_LOCKS_TRIED 5

/* Rows deleted at once for being too old. */
#define RETAIN_BATCH 2000

static const char *const status_names[] = {
	[LOG_SUCCESS] = "success",
	[LOG_FAILURE] = "failure",
	[LOG_SKIPPED_COOLDOWN] = "skipped_cooldown",
	[LOG_SKIPPED_CONDITION] = "skipped_condition",
};

typedef struct Rows
{
	int			n;
	int			allocated;
	LogRow	   *rows;
} Rows;

static Rows batch;				/* to be written with the next flush */
static Rows locked_out;			/* to be written when somebody lets go of a lock */
static int	lost = 0;			/* rows that could not be written since log_lost() */

static Oid	planned_table = InvalidOid;
static SPIPlanPtr insert_plan = NULL;

static char *
clean_text(const char *error, MemoryContext context)
{
	const unsigned char *in = (const unsigned char *) error;
	int			left = strlen(error);
	char	   *copy = MemoryContextAlloc(context, Min(left, MAX_ERROR) + 1);
	int			length = 0;

	while (left > 0)
	{
		int			n = pg_utf_mblen(in);
		bool		valid = n <= left && pg_utf8_islegal(in, n);

		if (!valid)
			n = 1;
		if (length + n > MAX_ERROR)
			break;
		if (!valid)
			copy[length++] = '?';
		else if (*in < 0x20 || *in == 0x7f || (n == 2 && in[0] == 0xC2 && in[1] < 0xA0))
			copy[length++] = ' ';
		else
		{
			memcpy(copy + length, in, n);
			length += n;
		}
		in += n;
		left -= n;
	}
	copy[length] = '\0';
	return copy;
}

char *
log_text(const char *error)
{
	return clean_text(error, CurrentMemoryContext);
}

static void
rows_push(Rows *list, const LogRow *row)
{
	if (list->n == list->allocated)
	{
		list->allocated = list->allocated ? list->allocated * 2 : 512;
		list->rows = list->rows
			? repalloc(list->rows, sizeof(LogRow) * list->allocated)
			: MemoryContextAlloc(TopMemoryContext, sizeof(LogRow) * list->allocated);
	}
	list->rows[list->n++] = *row;
}

/* The row is written, or will never be. */
static void
row_forget(LogRow *row)
{
	if (row->error)
		pfree((char *) row->error);
	if (row->action_type)
		pfree((char *) row->action_type);
	if (row->platform)
		pfree((char *) row->platform);
	row->error = row->action_type = row->platform = NULL;
}

void
log_add(const LogRow *row)
{
	LogRow		copy = *row;

	copy.action_type = MemoryContextStrdup(TopMemoryContext, row->action_type);
	if (row->platform)
		copy.platform = clean_text(row->platform, TopMemoryContext);
	if (row->error)
		copy.error = clean_text(row->error, TopMemoryContext);
	rows_push(&batch, &copy);
}

int
log_waiting(void)
{
	return batch.n;
}

int
log_locked_out(void)
{
	return locked_out.n;
}

int
log_take_lost(void)
{
	int			n = lost;

	lost = 0;
	return n;
}

/* ----------
 * Writing
 * ----------
 */

#define INSERT_COLUMNS 13

static bool
prepare_plan(void)
{
	static Oid	types[INSERT_COLUMNS] = {
		UUIDARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, UUIDARRAYOID,
		TEXTARRAYOID
	};
	Oid			table = tables_logs();

	if (!OidIsValid(table))
		return false;
	if (insert_plan != NULL && table == planned_table && SPI_plan_is_valid(insert_plan))
		return true;

	if (insert_plan)
		SPI_freeplan(insert_plan);
	insert_plan = NULL;
	insert_plan = SPI_prepare(psprintf("INSERT INTO %s (id, hook_id, user_id, stream_event_id,"
									   " trigger_type, action_type, status, error_message,"
									   " executed_at, duration_ms, inserted_at, attempt, response_status,"
									   " platform)"
									   " SELECT r.id, r.hook_id, r.user_id,"
									   " r.event_id, r.trigger_type, r.action_type, r.status, r.error,"
									   " %s, r.duration_ms, %s, r.attempt, r.response_status, r.platform"
									   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
									   " pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
									   " pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
									   " pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
									   " pg_catalog.unnest($12), pg_catalog.unnest($13))"
									   " r(hook_id, user_id, event_id, trigger_type, action_type, status,"
									   " error, executed_at, duration_ms, attempt, response_status, id, platform)",
									   tables_name(table),
									   tables_timestamptz_as_time(table, "executed_at", "r.executed_at"),
									   tables_timestamptz_as_time(table, "inserted_at",
																  "pg_catalog.now()")),
							  INSERT_COLUMNS, types);
	if (insert_plan == NULL)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(insert_plan);
	planned_table = table;
	return true;
}

static Datum
text_array(Datum *values, int n)
{
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
int_array(Datum *values, bool *nulls, int n)
{
	int			lower_bound = 1;

	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower_bound,
											  INT4OID, 4, true, TYPALIGN_INT));
}

static Datum
uuid_array(Datum *values, int n)
{
	return PointerGetDatum(construct_array(values, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

/*
 * Ids for rows of the log: UUIDs version 7, whose first part is the time, so
 * that new rows go to one end of their index.
 */
static pg_uuid_t *
make_ids(int n)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * n);
	uint64		ms = (uint64) (GetCurrentTimestamp() / 1000 +
							   (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000);

	if (!pg_strong_random(ids, sizeof(pg_uuid_t) * n))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (int i = 0; i < n; i++)
	{
		for (int byte = 0; byte < 6; byte++)
			ids[i].data[byte] = (unsigned char) (ms >> (40 - 8 * byte));
		ids[i].data[6] = (ids[i].data[6] & 0x0f) | 0x70;
		ids[i].data[8] = (ids[i].data[8] & 0x3f) | 0x80;
	}
	return ids;
}

/* One column of the batch at a time becomes an array. */
static void
insert_rows(const LogRow *list, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc0(sizeof(bool) * n);
	pg_uuid_t  *ids = make_ids(n);
	Datum		arguments[INSERT_COLUMNS];
	int			lower_bound = 1;

#define EACH(expression) \
	for (int i = 0; i < n; i++) \
		values[i] = (expression)

	EACH(UUIDPGetDatum(&list[i].hook_id));
	arguments[0] = uuid_array(values, n);
	EACH(UUIDPGetDatum(&list[i].user_id));
	arguments[1] = uuid_array(values, n);
	EACH(UUIDPGetDatum(&list[i].event_id));
	arguments[2] = uuid_array(values, n);
	EACH(CStringGetTextDatum(trigger_type_name(list[i].trigger_type)));
	arguments[3] = text_array(values, n);
	EACH(CStringGetTextDatum(list[i].action_type));
	arguments[4] = text_array(values, n);
	EACH(CStringGetTextDatum(status_names[list[i].status]));
	arguments[5] = text_array(values, n);
	for (int i = 0; i < n; i++)
	{
		nulls[i] = list[i].error == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(list[i].error);
	}
	arguments[6] = PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower_bound,
													  TEXTOID, -1, false, TYPALIGN_INT));
	EACH(TimestampTzGetDatum(list[i].executed_at));
	arguments[7] = PointerGetDatum(construct_array(values, n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL,
												   TYPALIGN_DOUBLE));
	EACH(Int32GetDatum(list[i].duration_ms));
	arguments[8] = int_array(values, NULL, n);
	EACH(Int32GetDatum(list[i].attempt));
	arguments[9] = int_array(values, NULL, n);
	for (int i = 0; i < n; i++)
	{
		values[i] = Int32GetDatum(list[i].response_status);
		nulls[i] = list[i].response_status == 0;
	}
	arguments[10] = int_array(values, nulls, n);
	EACH(UUIDPGetDatum(&ids[i]));
	arguments[11] = uuid_array(values, n);
	for (int i = 0; i < n; i++)
	{
		nulls[i] = list[i].platform == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(list[i].platform);
	}
	arguments[12] = PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower_bound,
													   TEXTOID, -1, false, TYPALIGN_INT));
#undef EACH

	if (SPI_execute_plan(insert_plan, arguments, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert into the hooks log");
}

static void
say_lost(const char *why)
{
	static TimestampTz said_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (said_at != 0 && now - said_at < 60 * USECS_PER_SEC)
		return;
	said_at = now;
	ereport(LOG,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("could not write to the hooks log: %s", why),
			 errdetail("Deliveries go on; results that could not be written are counted as \"unlogged\" in hooks.stat."),
			 errhint("Look at the triggers, constraints and policies of the log table.")));
}

static void
insert_one(void *row)
{
	insert_rows(row, 1);
}

/* Write one row in a subtransaction; false when somebody's lock is in the way. */
static bool
insert_carefully(LogRow *row)
{
	ErrorData  *error = tables_try(insert_one, row);

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return false;

	/* Its hook or user is gone: then nobody misses the row. */
	if (error->sqlerrcode != ERRCODE_FOREIGN_KEY_VIOLATION)
	{
		lost++;
		say_lost(error->message);
	}
	FreeErrorData(error);
	return true;
}

static bool
is_locked_out(const pg_uuid_t *user)
{
	for (int i = locked_out.n - 1; i >= 0 && i >= locked_out.n - 64; i--)
	{
		if (memcmp(&locked_out.rows[i].user_id, user, UUID_LEN) == 0)
			return true;
	}
	return false;
}

static void
lock_out(LogRow *row)
{
	if (locked_out.n < MAX_LOCKED_OUT)
	{
		rows_push(&locked_out, row);
		row->error = row->action_type = row->platform = NULL;	/* belong to the other list now */
	}
	else
	{
		lost++;
		row_forget(row);
	}
}

/*
 * Write rows one by one.  A lock in the way of one is in the way of the same
 * user's others; several are in the way of all.
 */
static void
write_carefully(Rows *list)
{
	int			locks = 0;

	for (int i = 0; i < list->n; i++)
	{
		LogRow	   *row = &list->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (locks >= MAX_LOCKS_TRIED || is_locked_out(&row->user_id))
			lock_out(row);
		else if (!insert_carefully(row))
		{
			locks++;
			lock_out(row);
		}
	}
}

/* Rows of users who are locked out do not even try. */
static void
set_locked_out_aside(void)
{
	int			n = 0;

	if (locked_out.n == 0)
		return;
	for (int i = 0; i < batch.n; i++)
	{
		if (is_locked_out(&batch.rows[i].user_id))
			lock_out(&batch.rows[i]);
		else
			batch.rows[n++] = batch.rows[i];
	}
	batch.n = n;
}

static void
prepare_plan_into(void *prepared)
{
	*(bool *) prepared = prepare_plan();
}

/* The same when the table may have been altered beyond recognition. */
static bool
prepare_plan_carefully(void)
{
	bool		prepared = false;
	ErrorData  *error = tables_try(prepare_plan_into, &prepared);

	if (error == NULL && !prepared)
		say_lost("there is no log table");
	else if (error != NULL)
		say_lost(error->message);
	return error == NULL && prepared;
}

/* Write a list, as the table's owner. */
static void
write_list(Rows *list, bool carefully)
{
	TablesUser	saved;

	if (list->n == 0)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (carefully ? prepare_plan_carefully() : prepare_plan())
	{
		tables_act_as_owner(planned_table, &saved);
		if (carefully)
			write_carefully(list);
		else
			insert_rows(list->rows, list->n);
		tables_act_done(&saved);
	}
	else
	{
		lost += list->n;
		if (!carefully)
			say_lost("there is no log table");
	}
	SPI_finish();
}

void
log_write(bool carefully)
{
	set_locked_out_aside();
	write_list(&batch, carefully);
}

void
log_written(void)
{
	for (int i = 0; i < batch.n; i++)
		row_forget(&batch.rows[i]);
	batch.n = 0;
}

void
log_retry(void)
{
	Rows		again = locked_out;

	locked_out = (Rows)
	{
		0
	};
	write_list(&again, true);
	for (int i = 0; i < again.n; i++)
		row_forget(&again.rows[i]);
	if (again.rows)
		pfree(again.rows);
}

/* ----------
 * Retention
 * ----------
 */

bool
log_retain(void)
{
	Oid			table;
	TablesUser	saved;
	char	   *name;
	bool		more;

	if (hooks_log_retention <= 0)
		return false;
	table = tables_logs();
	if (!OidIsValid(table))
		return false;

	tables_refuse_hidden_rows(table);
	name = tables_name(table);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	tables_act_as_owner(table, &saved);
	if (SPI_execute(psprintf("DELETE FROM %s WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY("
							 "SELECT id FROM %s WHERE inserted_at OPERATOR(pg_catalog.<) %s"
							 " LIMIT %d FOR UPDATE SKIP LOCKED))",
							 name, name,
							 tables_timestamptz_as_time(table, "inserted_at",
														psprintf("(pg_catalog.now() OPERATOR(pg_catalog.-)"
																 " pg_catalog.make_interval(mins => %d))",
																 hooks_log_retention)),
							 RETAIN_BATCH),
					false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete old rows of the hooks log");
	more = SPI_processed >= RETAIN_BATCH;
	tables_act_done(&saved);
	SPI_finish();
	return more;
}
