/* job_internal.h: what the files that read a job share. */
#ifndef ENGINE_JOB_INTERNAL_H
#define ENGINE_JOB_INTERNAL_H

#include "base/arena.h"
#include "engine/job.h"

struct job_memory {
    arena arena;
    document *document;
    args *run;
    bool has_flows;
};

/* Fills job.run from the section (NULL: none). TW_ERR_JOB: errors have been added. */
tw_status job_read_run(job *j, const node *n, struct place at, error_list *errors);
/* Adds errors for flows that read themselves in the end, and for flows that nobody reads. */
tw_status job_check_flows(const job *j, unsigned flags, error_list *errors);

#endif
