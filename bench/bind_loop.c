/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bind_loop CGROUP COUNT FIRST_PORT PORTS [RATE [listen]]: joins the cgroup, then COUNT times
 * socket+bind+close of TCP on 127.0.0.1, over PORTS ports in turn, RATE a second (0: as fast as it
 * goes), and with `listen` a listen() before the close. PORTS 0: getppid() and nothing else.
 * Prints nanoseconds per round and how many binds were refused.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void join(const char *cgroup)
{
	char path[4096], pid[32];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, pid, (size_t)snprintf(pid, sizeof(pid), "%d", getpid())) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

/* Sleeps where it is a millisecond early, so that other processes have the CPU meanwhile. */
static void keep_pace(const struct timespec *start, long done, long rate)
{
	struct timespec now;
	double ahead_ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ahead_ns = done * (1e9 / rate) - (now.tv_sec - start->tv_sec) * 1e9 -
	           (now.tv_nsec - start->tv_nsec);
	if (ahead_ns > 1e6) {
		struct timespec pause = { .tv_nsec = (long)ahead_ns };

		nanosleep(&pause, NULL);
	}
}

static void bind_once(const struct sockaddr_in *address, int listening, long *refused)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
		(*refused)++;
	else if (listening)
		listen(fd, 1);
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct timespec start, end;
	long count, first, ports, rate, refused = 0;
	int listening;

	if (argc < 5)
		return 2;
	count = atol(argv[2]);
	first = atol(argv[3]);
	ports = atol(argv[4]);
	rate = argc > 5 ? atol(argv[5]) : 0;
	listening = argc > 6;
	join(argv[1]);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long i = 0; i < count; i++) {
		if (!ports) {
			syscall(SYS_getppid);
			continue;
		}
		address.sin_port = htons((unsigned short)(first + i % ports));
		bind_once(&address, listening, &refused);
		if (rate)
			keep_pace(&start, i, rate);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.1f %ld\n",
	       ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count,
	       refused);
	return 0;
}
