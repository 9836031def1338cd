/* connectors.h: all connectors, each one file. One is added by a descriptor here and one line in
 * api/registry.c. */
#ifndef IO_CONNECTORS_H
#define IO_CONNECTORS_H

#include "engine/plan.h"

extern const source_descriptor source_file, source_generate, source_tcp, source_unix, source_http, source_kafka,
    source_harmonicio;
extern const step_descriptor step_parse; /* reads by the decoders of files */
extern const sink_descriptor sink_file, sink_stdout, sink_discard, sink_tcp, sink_unix, sink_http, sink_kafka,
    sink_harmonicio;

#endif
