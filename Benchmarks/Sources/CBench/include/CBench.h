#pragma once

#include <stddef.h>

// Functions that glibc declares only for GNU sources, or that Swift does not import.

/// Writes the numbers of at most `max` processors that the calling thread may run on. Returns how many.
int bench_allowed_cpus(int *numbers, int max);

/// Restricts the calling thread to these processors.
void bench_pin(const int *numbers, int count);

/// Sets the calling thread's niceness, and its timer slack to 1 ns, so that it is not woken up to 50 microseconds late.
void bench_prefer(int niceness);

/// Lets the calling thread run only on an otherwise idle processor (SCHED_IDLE), where any other thread preempts it.
void bench_run_last(void);

/// The offset of `needle` in `bytes`; -1 if there is none.
ptrdiff_t bench_find(const void *bytes, size_t count, const void *needle, size_t needle_count);
