/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What runs in a test's containers: binds each PROTOCOL/ADDRESS/PORT that it is given, and listens
 * where that is tcp; says "ok" or the errno's name, a line each; then stays until it is told to end.
 * `--exit`: ends at once. Static, so that an image needs nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int number)
{
	(void)number;
	_exit(0);
}

static bool take(const char *protocol, const char *address, int port)
{
	bool tcp = !strcmp(protocol, "tcp");
	bool wide = strchr(address, ':');
	int fd = socket(wide ? AF_INET6 : AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	struct sockaddr_in narrow = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 broad = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr *where = wide ? (void *)&broad : (void *)&narrow;
	socklen_t size = wide ? sizeof(broad) : sizeof(narrow);

	if (fd < 0)
		return false;
	if (inet_pton(where->sa_family, address,
	              wide ? (void *)&broad.sin6_addr : (void *)&narrow.sin_addr) != 1) {
		errno = EDESTADDRREQ;
		return false;
	}
	return !bind(fd, where, size) && !(tcp && listen(fd, 1));
}

int main(int count, char **words)
{
	bool staying = true;

	signal(SIGTERM, end); /* the first process of a pid namespace has no default action */
	for (int i = 1; i < count; i++) {
		if (!strcmp(words[i], "--exit")) {
			staying = false;
		} else {
			char *protocol = strtok(strdup(words[i]), "/"); /* /proc shows words */
			char *address = strtok(NULL, "/");
			char *port = strtok(NULL, "/");

			if (!port)
				return 2;
			puts(take(protocol, address, atoi(port)) ? "ok" : strerrorname_np(errno));
			fflush(stdout);
		}
	}
	while (staying)
		pause();
	return 0;
}
