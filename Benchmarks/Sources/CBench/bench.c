#define _GNU_SOURCE
#include "CBench.h"

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int bench_allowed_cpus(int *numbers, int max) {
  cpu_set_t set;
  int count = 0;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  for (int number = 0; number < CPU_SETSIZE && count < max; number++) {
    if (CPU_ISSET(number, &set)) numbers[count++] = number;
  }
  return count;
}

void bench_pin(const int *numbers, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int index = 0; index < count; index++) CPU_SET(numbers[index], &set);
  sched_setaffinity(0, sizeof set, &set);
}

void bench_prefer(int niceness) {
  // On Linux, 0 is the calling thread.
  setpriority(PRIO_PROCESS, 0, niceness);
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

void bench_run_last(void) {
  struct sched_param parameters = {0};
  sched_setscheduler(0, SCHED_IDLE, &parameters);
}

ptrdiff_t bench_find(const void *bytes, size_t count, const void *needle, size_t needle_count) {
  const char *found = memmem(bytes, count, needle, needle_count);
  return found ? found - (const char *)bytes : -1;
}
