/* registry.h: every step, source and sink there is. A new one is one file and one line in registry.c. */
#ifndef API_REGISTRY_H
#define API_REGISTRY_H

#include "engine/plan.h"

extern const registry built_in;

#endif
