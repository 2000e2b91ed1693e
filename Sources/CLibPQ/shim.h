// libpq's client interface, the two Linux headers that Swift's Glibc module leaves out, and a function that pthread.h
// shows to GNU sources alone.
#include <libpq-fe.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

extern int pthread_setname_np(pthread_t thread, const char *name);
