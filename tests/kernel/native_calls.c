/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The calls that Python cannot make, for socket_steps.py by ctypes: a shared library, so that
 * the caller makes them itself. Each returns what the kernel said: 0 or more, else -errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OP_BIND 56 /* IORING_OP_BIND and _LISTEN: Linux 6.11, newer than Debian 12's headers */
#define OP_LISTEN 57
#define ENTRIES 1
#define FIRST_PERSONALITY 1

static long said(long result)
{
	return result < 0 ? -errno : result;
}

static void *map_ring(int ring, size_t size, off_t what)
{
	return mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);
}

/* Leaves who this is now with the ring, as personality FIRST_PERSONALITY, and becomes a user. */
static int become(int ring, int user)
{
	int personality = syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, 0, 0);

	return personality != FIRST_PERSONALITY || setresuid(user, user, user);
}

/* One request through a ring of its own; closing the ring is left to the end of the process,
 * since its kernel thread may be asked for. */
static long submit(const struct io_uring_sqe *request, unsigned int setup_flags, int user)
{
	struct io_uring_params params = { .flags = setup_flags, .sq_thread_idle = 1 };
	int ring = syscall(SYS_io_uring_setup, ENTRIES, &params);
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *done;
	unsigned int tail, enter = IORING_ENTER_GETEVENTS;

	if (ring < 0)
		return -errno;
	sq = map_ring(ring, params.sq_off.array + params.sq_entries * sizeof(uint32_t),
	              IORING_OFF_SQ_RING);
	cq = map_ring(ring, params.cq_off.cqes + params.cq_entries * sizeof(*done),
	              IORING_OFF_CQ_RING);
	sqes = map_ring(ring, params.sq_entries * sizeof(*sqes), IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
		return -errno;
	if (request->personality && become(ring, user))
		return -errno;
	sqes[0] = *request;
	*(uint32_t *)(sq + params.sq_off.array) = 0;
	tail = *(uint32_t *)(sq + params.sq_off.tail);
	__atomic_store_n((uint32_t *)(sq + params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (setup_flags & IORING_SETUP_SQPOLL)
		enter |= IORING_ENTER_SQ_WAKEUP;
	if (syscall(SYS_io_uring_enter, ring, 1, 1, enter, 0, 0) < 0)
		return -errno;
	done = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	return done->res;
}

long ring_bind(int fd, const void *address, unsigned int length, unsigned int sqe_flags,
               unsigned int setup_flags)
{
	struct io_uring_sqe request = { .opcode = OP_BIND,
		                        .fd = fd,
		                        .flags = sqe_flags,
		                        .addr = (uintptr_t)address,
		                        .addr2 = length };

	return submit(&request, setup_flags, 0);
}

long ring_bind_as_before(int fd, const void *address, unsigned int length, int user)
{
	struct io_uring_sqe request = { .opcode = OP_BIND,
		                        .fd = fd,
		                        .personality = FIRST_PERSONALITY,
		                        .addr = (uintptr_t)address,
		                        .addr2 = length };

	return submit(&request, 0, user);
}

long ring_listen(int fd, unsigned int backlog, unsigned int sqe_flags, unsigned int setup_flags)
{
	struct io_uring_sqe request = {
		.opcode = OP_LISTEN, .fd = fd, .flags = sqe_flags, .len = backlog
	};

	return submit(&request, setup_flags, 0);
}

#ifdef __x86_64__
#define NR32_SOCKETCALL 102
#define NR32_BIND 361
#define NR32_LISTEN 363
#define SOCKETCALL_BIND 2
#define SOCKETCALL_LISTEN 4

/* The 32-bit entry, which a 64-bit process may use too. */
static long call32(long number, long first, long second, long third)
{
	long result;

	asm volatile("int $0x80"
	             : "=a"(result)
	             : "a"(number), "b"(first), "c"(second), "d"(third)
	             : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

/* Memory that 32 bits can name. */
static void *low_page(void)
{
	static void *page;

	if (!page)
		page = mmap(0, 4096, PROT_READ | PROT_WRITE,
		            MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return page;
}

long bind32(int fd, const void *address, unsigned int length, int by_socketcall)
{
	uint32_t *arguments = low_page();
	void *copy = arguments + 8;

	memcpy(copy, address, length);
	if (!by_socketcall)
		return call32(NR32_BIND, fd, (long)copy, length);
	arguments[0] = fd;
	arguments[1] = (uint32_t)(uintptr_t)copy;
	arguments[2] = length;
	return call32(NR32_SOCKETCALL, SOCKETCALL_BIND, (long)arguments, 0);
}

long listen32(int fd, int backlog, int by_socketcall)
{
	uint32_t *arguments = low_page();

	if (!by_socketcall)
		return call32(NR32_LISTEN, fd, backlog, 0);
	arguments[0] = fd;
	arguments[1] = backlog;
	return call32(NR32_SOCKETCALL, SOCKETCALL_LISTEN, (long)arguments, 0);
}
#else
long bind32(int fd, const void *address, unsigned int length, int by_socketcall)
{
	return -ENOSYS;
}

long listen32(int fd, int backlog, int by_socketcall)
{
	return -ENOSYS;
}
#endif

/* fork(), the child in that cgroup from its first instruction. */
long clone_into(int cgroup)
{
	struct clone_args arguments = { .flags = CLONE_INTO_CGROUP,
		                        .exit_signal = SIGCHLD,
		                        .cgroup = cgroup };

	return said(syscall(SYS_clone3, &arguments, sizeof(arguments)));
}

long copy_descriptor(int pid, int fd)
{
	int process = syscall(SYS_pidfd_open, pid, 0);
	long result;

	if (process < 0)
		return -errno;
	result = said(syscall(SYS_pidfd_getfd, process, fd, 0));
	close(process);
	return result;
}

struct race {
	volatile int socket; /* -1: none now */
	volatile int over;
};

/* Makes the socket v6-only and dual-stack again, all the time. */
static void *toggle_v6only(void *argument)
{
	struct race *race = argument;

	while (!race->over) {
		for (int v6only = 1; v6only >= 0 && race->socket >= 0; v6only--)
			setsockopt(race->socket, IPPROTO_IPV6, IPV6_V6ONLY, &v6only,
			           sizeof(v6only));
	}
	return 0;
}

/* How many v6-only sockets bind() to `::` and that port, and are dual-stack then. */
long race_to_dual_stack(int port, int rounds)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct race race = { .socket = -1 };
	int v6only, won = 0;
	pthread_t other;

	pthread_create(&other, 0, toggle_v6only, &race);
	for (int i = 0; i < rounds; i++) {
		int fd = socket(AF_INET6, SOCK_DGRAM, 0);
		socklen_t size = sizeof(v6only);

		v6only = 1;
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, size);
		race.socket = fd;
		if (!bind(fd, (struct sockaddr *)&any, sizeof(any)) &&
		    !getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size))
			won += !v6only;
		race.socket = -1;
		close(fd);
	}
	race.over = 1;
	pthread_join(other, 0);
	return won;
}
