/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The process that serves one database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_WORKER_H
#define HOOKS_WORKER_H

/* Is this process a worker? */
extern bool am_hooks_worker;

#endif							/* HOOKS_WORKER_H */
