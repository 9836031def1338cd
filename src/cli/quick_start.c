/* quick_start.c: Highway's library measures its timer for four milliseconds whenever a process that links it
 * begins, which is longer than a small job takes. Only its benchmarks use the answer; a program's own
 * function of that name comes before it. */
#include <stdint.h>

/* uint64_t hwy::platform::TimerResolution() */
__attribute__((visibility("default"))) uint64_t _ZN3hwy8platform15TimerResolutionEv(void);
uint64_t _ZN3hwy8platform15TimerResolutionEv(void) { return 1; }
