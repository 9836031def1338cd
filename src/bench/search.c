#include "bench/search.h"

#include <math.h>

#define GROWTH 1.5
#define RETREAT 0.5
#define FAR_RETREAT 0.01
#define DELIVERED_SHARE 0.9 /* an engine that is pressed may deliver more than it sustains */
#define DECADES_DOWN 1e-8 /* how far below the first rate it looks */

search search_from(double rate, double precision) {
    return (search){.precision = precision, .rate = rate, .least = rate * DECADES_DOWN};
}

bool search_tell(search *s, search_told told, double delivered) {
    s->trials++;
    if (told == SEARCH_FAILED_NARROWLY && !s->again) {
        s->again = true;
        return s->trials < SEARCH_TRIALS_MAX;
    }
    s->again = false;
    if (told == SEARCH_SUSTAINED) s->sustained = s->rate;
    else s->failed = s->rate;
    if (s->trials >= SEARCH_TRIALS_MAX) return false;
    if (s->failed == 0) s->rate *= GROWTH;
    else if (s->sustained == 0) s->rate *= delivered > 0 ? fmax(FAR_RETREAT, fmin(RETREAT, DELIVERED_SHARE * delivered / s->rate)) : RETREAT;
    else if (s->failed <= s->sustained * (1 + s->precision)) return false;
    else s->rate = sqrt(s->sustained * s->failed);
    return s->rate >= s->least;
}
