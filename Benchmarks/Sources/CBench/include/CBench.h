#pragma once

#include <stddef.h>

// What glibc declares for GNU sources only, or Swift doesn't import.

/// Writes the numbers of at most `max` processors that the calling thread may run on; how many.
int bench_allowed_cpus(int *numbers, int max);

/// Lets the calling thread run on these processors only.
void bench_pin(const int *numbers, int count);

/// Sets the calling thread's niceness, and lets it be woken on time instead of up to 50 microseconds late.
void bench_prefer(int niceness);

/// Lets the calling thread run when no other wants its processor, and be preempted at once.
void bench_run_last(void);

/// Where `needle` begins in `bytes`; -1 if nowhere.
ptrdiff_t bench_find(const void *bytes, size_t count, const void *needle, size_t needle_count);
