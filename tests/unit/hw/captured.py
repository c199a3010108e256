"""Files of /proc as real machines show them, shortened to what matters."""

MEMINFO_PI4 = """\
MemTotal:        3885396 kB
MemFree:          214032 kB
MemAvailable:    3216876 kB
Buffers:          106292 kB
Cached:          2836916 kB
SwapTotal:        102396 kB
SwapFree:         101116 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""

CPUINFO_PI4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Revision\t: c03114
Serial\t\t: 10000000deadbeef
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""

CPUINFO_PI5 = """\
processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""

CPUINFO_JETSON = """\
processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU part\t: 0xd42
"""

CPUINFO_NUC = """\
processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 154
model name\t: 12th Gen Intel(R) Core(TM) i5-1240P
flags\t\t: fpu vme sse sse2 avx f16c fma avx2 avx_vnni gfni vaes
bugs\t\t: spectre_v1 spectre_v2

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: 12th Gen Intel(R) Core(TM) i5-1240P
flags\t\t: fpu vme sse sse2 avx f16c fma avx2 avx_vnni gfni vaes
"""

MOUNTINFO_PI = """\
24 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
25 24 0:5 / /dev rw,relatime shared:2 - devtmpfs udev rw,size=1677748k,mode=755
30 24 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
40 24 179:1 / /boot/firmware rw,relatime shared:30 - vfat /dev/mmcblk0p1 rw,fmask=0022
41 24 0:40 / /mnt/nas\\040share rw,relatime shared:31 - nfs4 nas:/export rw,vers=4.2,rsize=1048576
"""

MOUNTINFO_DOCKER = """\
700 600 0:55 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/u/diff,workdir=/u/work
701 700 0:60 / /proc rw,nosuid - proc proc rw
702 700 0:61 / /tmp rw - tmpfs tmpfs rw
703 700 259:2 /srv/models /models ro,relatime - ext4 /dev/nvme0n1p2 rw
"""

# What this kind of machine shows: every controller in version 1, and an empty version 2 beside it.
CGROUP_HYBRID = """\
9:name=systemd:/
7:blkio:/
4:memory:/box/94e03aea
2:cpu,cpuacct:/box
0::/
"""

PRESSURE = """\
some avg10=1.53 avg60=0.27 avg300=2.24 total=85842608
full avg10=0.42 avg60=0.00 avg300=0.00 total=1042
"""
