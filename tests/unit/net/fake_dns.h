/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_FAKE_DNS_H
#define WEIR_TESTS_FAKE_DNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/*
 * A name server on a loopback port, UDP and TCP, in a thread of its own. What it does is in the
 * first label of the name:
 *   v4  v6  both  two      addresses on loopback: A 127.0.0.1, AAAA ::1, both of them, A 127.0.0.1
 *       and 127.0.0.2
 *   many                   25 A records
 *   nx  empty  fail        NXDOMAIN, no record, SERVFAIL
 *   silent                 nothing
 *   lost                   A, to the second question only
 *   junk                   bytes that are no message, then a header with nothing behind it
 *   forged                 an answer with a wrong id, then the true one
 *   tc  tcdead             truncated over UDP; over TCP A, or a closed connection
 */
struct fake_dns {
    int udp_fd, tcp_fd, stop_fd;
    uint16_t port;
    pthread_t thread;
    _Atomic int questions, tcp_questions; /* how many came */
    int lost;
};

/* Starts it and makes it the resolver's server. Returns 0, or -1. */
int fake_dns_start(struct fake_dns *dns);
void fake_dns_stop(struct fake_dns *dns);

#endif
