/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bind_loop CGROUP COUNT FIRST_PORT PORTS: joins the cgroup, then COUNT times
 * socket+bind+close of TCP on 127.0.0.1, over PORTS ports in turn. Prints nanoseconds per
 * round and how many binds were refused. CGROUP `-` stays where it is.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	long count = atol(argv[2]), first = atol(argv[3]), ports = atol(argv[4]), refused = 0;
	struct timespec start, end;

	if (argc < 5)
		return 2;
	if (strcmp(argv[1], "-"))
		join(argv[1]);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (long i = 0; i < count; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		address.sin_port = htons((unsigned short)(first + i % ports));
		refused += bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0;
		close(fd);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.1f %ld\n",
	       ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count, refused);
	return 0;
}
