"""NAT rules as those programs lay them out that publish ports, in a network namespace of a test.

The layouts are facts of Docker, of CNI's portmap plugin, netavark and kube-proxy; the rules are
written here. 192.0.2.1 is an address of the namespace.
"""

from __future__ import annotations

import subprocess

ADDRESS = "192.0.2.1"

DOCKER = """\
-N DOCKER
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER -d 192.0.2.1/32 ! -i docker0 -p udp -m udp --dport 5353 -j DNAT --to-destination 172.17.0.3:53
-A DOCKER -d 198.51.100.7/32 ! -i docker0 -p tcp -m tcp --dport 81 -j DNAT --to-destination 172.17.0.4:81
"""  # noqa: E501 - a rule a line
DOCKER_SEEN = {
    ("tcp", "0.0.0.0", 8080, 8080, "docker", "172.17.0.2:80"),
    ("udp", ADDRESS, 5353, 5353, "docker", "172.17.0.3:53"),
}

PORTMAP = """\
-N CNI-HOSTPORT-SETMARK
-N CNI-HOSTPORT-DNAT
-N CNI-DN-1f2e3d4c5b6a
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\" id: \\"0a1b2c\\"" -m multiport --dports 9090,9100:9102 -j CNI-DN-1f2e3d4c5b6a
-A CNI-DN-1f2e3d4c5b6a -s 10.88.0.0/16 -p tcp -m tcp --dport 9090 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-1f2e3d4c5b6a -s 127.0.0.1/32 -p tcp -m tcp --dport 9090 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-1f2e3d4c5b6a -p tcp -m tcp --dport 9090 -j DNAT --to-destination 10.88.0.9:90
-A CNI-DN-1f2e3d4c5b6a -p tcp -m tcp --dport 9100:9102 -j DNAT --to-destination 10.88.0.9:9100-9102
"""  # noqa: E501
PORTMAP_SEEN = {
    ("tcp", "0.0.0.0", 9090, 9090, "cni-portmap", "10.88.0.9:90"),
    ("tcp", "0.0.0.0", 9100, 9102, "cni-portmap", "10.88.0.9:9100-9102"),
}

KUBE_PROXY = """\
-N KUBE-SERVICES
-N KUBE-NODEPORTS
-N KUBE-MARK-MASQ
-N KUBE-EXT-WEB
-N KUBE-SVC-WEB
-N KUBE-SEP-ONE
-N KUBE-SEP-TWO
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web:http" -m tcp --dport 30080 -j KUBE-EXT-WEB
-A KUBE-EXT-WEB -m comment --comment "masquerade traffic" -j KUBE-MARK-MASQ
-A KUBE-EXT-WEB -j KUBE-SVC-WEB
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-ONE
-A KUBE-SVC-WEB -j KUBE-SEP-TWO
-A KUBE-SEP-ONE -s 10.244.0.5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-ONE -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
-A KUBE-SEP-TWO -p tcp -m tcp -j DNAT --to-destination 10.244.0.6:8080
"""  # noqa: E501
KUBE_PROXY_SEEN = {("tcp", "0.0.0.0", 30080, 30080, "kube-proxy", "10.244.0.5:8080")}

IPTABLES = {
    "docker": (DOCKER, DOCKER_SEEN),
    "portmap": (PORTMAP, PORTMAP_SEEN),
    "kube-proxy": (KUBE_PROXY, KUBE_PROXY_SEEN),
}

NETAVARK_NFT = """\
table inet netavark {
  chain PREROUTING {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump NETAVARK-HOSTPORT-DNAT
  }
  chain NETAVARK-HOSTPORT-DNAT {
    tcp dport 8081 jump nv_2f259bab_10_88_0_0_nm16_dnat
    ip daddr 192.0.2.1 udp dport 5000-5010 jump nv_2f259bab_10_88_0_0_nm16_dnat
    tcp dport 443 jump nv_2f259bab_10_88_0_0_nm16_dnat
  }
  chain NETAVARK-HOSTPORT-SETMARK {
    meta mark set mark | 0x2000
  }
  chain nv_2f259bab_10_88_0_0_nm16_dnat {
    ip saddr 10.88.0.0/16 tcp dport 8081 jump NETAVARK-HOSTPORT-SETMARK
    tcp dport 8081 dnat ip to 10.88.0.2:80
    ip daddr 192.0.2.1 udp dport 5000-5010 dnat ip to 10.88.0.2
    tcp dport 443 dnat ip6 to [fd00::2]:8443
  }
}
"""
KUBE_PROXY_NFT = """\
table ip kube-proxy {
  set nodeport-ips {
    type ipv4_addr
    elements = { 192.0.2.1 }
  }
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.1 . tcp . 443 : goto service-2QRHZV4L-default/kubernetes/tcp/https,
                 192.0.2.1 . tcp . 9443 : goto service-2QRHZV4L-default/kubernetes/tcp/https }
  }
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30081 : goto external-ULMVA6XW-default/web/tcp/http }
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain mark-for-masquerade {
    meta mark set meta mark or 0x4000
  }
  chain external-ULMVA6XW-default/web/tcp/http {
    jump mark-for-masquerade
    goto service-ULMVA6XW-default/web/tcp/http
  }
  chain service-ULMVA6XW-default/web/tcp/http {
    ip saddr 10.0.0.1 jump mark-for-masquerade
    numgen random mod 2 vmap { 0 : goto endpoint-one, 1 : goto endpoint-two }
  }
  chain service-2QRHZV4L-default/kubernetes/tcp/https {
    goto endpoint-one
  }
  chain endpoint-one {
    ip saddr 10.244.0.5 jump mark-for-masquerade
    meta l4proto tcp dnat to 10.244.0.5:8080
  }
  chain endpoint-two {
    meta l4proto tcp dnat to 10.244.0.6:8080
  }
}
"""
DOCKER_NFT = """\
table ip docker-bridges {
  chain nat-prerouting-and-output {
    iifname != "br0" tcp dport 8082 counter dnat to 172.18.0.2:80 comment "DNAT"
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local counter jump nat-prerouting-and-output
  }
}
"""
PORTMAP_NFT = """\
table inet cni_hostport {
  chain hostports {
    tcp dport 8083 dnat ip to 10.1.0.5:80 comment "0123456789ab"
  }
  chain hostip_hostports {
    ip daddr 192.0.2.1 tcp dport 8084 dnat ip to 10.1.0.5:80 comment "0123456789ab"
    ip daddr 198.51.100.7 tcp dport 8085 dnat ip to 10.1.0.5:80
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump hostip_hostports
    jump hostports
  }
}
"""
OWN_NFT = """\
table ip mine {
  chain pre {
    type nat hook prerouting priority -90; policy accept;
    iifname "lo" return
    tcp dport { 21, 990-992, 7000 } dnat to 10.9.9.9
    dnat to tcp dport map { 81 : 10.0.0.81, 82 : 10.0.0.82 }
    dnat ip addr . port to tcp dport map { 83 : 10.0.0.83 . 8383 }
    tcp dport 22 redirect to :2222
    fib daddr type != local tcp dport 3128 redirect to :3129
    ip daddr 203.0.113.9 tcp dport 1234 dnat to 10.9.9.9
    iifname "eth7" ip daddr 192.0.2.0/24 tcp dport >= 65000 dnat to 10.9.9.9:1
    ip protocol tcp ip daddr 192.0.2.1 th dport 4000 dnat to 10.9.9.10
    tcp dport != 1 dnat to 10.0.0.5
    accept
    tcp dport 99 dnat to 10.0.0.99
  }
}
"""

NFT = {
    "netavark": (
        NETAVARK_NFT,
        {
            ("tcp", "0.0.0.0", 8081, 8081, "podman", "10.88.0.2:80"),
            ("udp", ADDRESS, 5000, 5010, "podman", "10.88.0.2"),
            ("tcp", "::", 443, 443, "podman", "[fd00::2]:8443"),
        },
    ),
    "kube-proxy": (
        KUBE_PROXY_NFT,
        {
            ("tcp", ADDRESS, 30081, 30081, "kube-proxy", "10.244.0.5:8080"),
            ("tcp", ADDRESS, 9443, 9443, "kube-proxy", "10.244.0.5:8080"),
        },
    ),
    "docker": (DOCKER_NFT, {("tcp", "0.0.0.0", 8082, 8082, "docker", "172.18.0.2:80")}),
    "portmap": (
        PORTMAP_NFT,
        {
            ("tcp", "0.0.0.0", 8083, 8083, "cni-portmap", "10.1.0.5:80"),
            ("tcp", ADDRESS, 8084, 8084, "cni-portmap", "10.1.0.5:80"),
        },
    ),
    "own": (
        OWN_NFT,
        {
            ("tcp", "0.0.0.0", 21, 21, "nat", "10.9.9.9"),
            ("tcp", "0.0.0.0", 22, 22, "nat", ":2222"),
            ("tcp", "0.0.0.0", 81, 81, "nat", "10.0.0.81"),
            ("tcp", "0.0.0.0", 82, 82, "nat", "10.0.0.82"),
            ("tcp", "0.0.0.0", 83, 83, "nat", "10.0.0.83:8383"),
            ("tcp", "0.0.0.0", 990, 992, "nat", "10.9.9.9"),
            ("tcp", "0.0.0.0", 7000, 7000, "nat", "10.9.9.9"),
            ("tcp", ADDRESS, 4000, 4000, "nat", "10.9.9.10"),
            ("tcp", ADDRESS, 65000, 65535, "nat", "10.9.9.9:1"),
        },
    ),
}


def inside(pid: int, *command: str, text: str = "") -> None:
    """Run a command in a process's network namespace; it has to succeed."""
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", *command],
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)


def give_address(pid: int) -> None:
    """192.0.2.1, as an address of the namespace's own."""
    inside(pid, "ip", "address", "add", f"{ADDRESS}/24", "dev", "lo")


def write_iptables(pid: int, tool: str, rules: str) -> None:
    """Into the `nat` table, by `iptables-nft` or `iptables-legacy`."""
    inside(pid, f"{tool}-restore", "--noflush", text=f"*nat\n{rules}COMMIT\n")


def write_nft(pid: int, rules: str) -> None:
    """By `nft`."""
    inside(pid, "nft", "-f", "-", text=rules)
