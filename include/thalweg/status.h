/* thalweg/status.h: how every call of Thalweg says whether it succeeded.
 *
 * A function that can fail returns a tw_status. Details (a message and its
 * place) go into a tw_error that the caller owns; passing NULL is allowed. */
#ifndef THALWEG_STATUS_H
#define THALWEG_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TW_API __attribute__((visibility("default")))

/* Stable values: new ones are only ever added. */
typedef enum tw_status {
    TW_OK = 0,
    TW_END = 1,           /* an iterator has no more items; not an error */
    TW_ERR_JOB = 2,       /* the job or an argument is wrong */
    TW_ERR_DATA = 3,      /* a record is malformed, torn or out of range */
    TW_ERR_IO = 4,        /* a file, disk or network call failed */
    TW_ERR_MEMORY = 5,    /* run.memory or the system's memory is used up */
    TW_ERR_CANCELLED = 6, /* interrupted by the user or by tw_job_cancel */
    TW_ERR_INTERNAL = 7   /* a broken promise inside Thalweg: please report it */
} tw_status;

/* What went wrong and where. Fields that do not apply are 0 or "". */
typedef struct tw_error {
    tw_status code;
    uint64_t line;      /* in the job text, from 1; 0: none */
    uint64_t column;    /* in the job text, in bytes, from 1; 0: none */
    uint64_t record;    /* in the data file, from 1; 0: none */
    char file[256];     /* job file or data file, cut if longer */
    char message[1024]; /* one sentence without the place, never a secret */
} tw_error;

/* For whoever listens to a run: one line without its end, never a secret; from any thread, one call at a time. */
typedef enum tw_log_level { TW_LOG_INFO, TW_LOG_WARNING } tw_log_level;
typedef void (*tw_log)(void *context, tw_log_level level, const char *message);

/* The constant name of a status ("TW_ERR_IO"); never NULL. */
TW_API const char *tw_status_name(tw_status status);

#ifdef __cplusplus
}
#endif
#endif
