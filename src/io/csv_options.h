/* csv_options.h: what sinks say about csv. */
#ifndef IO_CSV_OPTIONS_H
#define IO_CSV_OPTIONS_H

#include "engine/descriptor.h"
#include "io/encode.h"

/* Reads the options header, delimiter and quote, which are for the format csv alone. TW_ERR_JOB. */
tw_status csv_options_read(error_list *errors, const args *a, encode_options *o);

#endif
