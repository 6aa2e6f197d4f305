#!/bin/sh
# Makes the tree of a node one that boots by itself, as a virtual machine: kernel, initramfs, GRUB, network, clock, and
# the way in which a guest gets what is its own. Run by mmdebstrap after lab_host/files/customise_node.sh, with the same
# arguments.
set -eu
stage=$1
tree=$2

if [ "$stage" = extracted ]; then
	# MODULES=most makes an initramfs four times as large, and takes minutes where the processor is emulated. The root
	# file system is all that it has to find; level 1 because a kernel that a role installs makes one in the guest.
	install -d "$tree/etc/initramfs-tools/conf.d" "$tree/usr/share/initramfs-tools/modules.d"
	cat > "$tree/etc/initramfs-tools/conf.d/labctl" <<'CONF'
MODULES=list
COMPRESS=gzip
COMPRESSLEVEL=1
CONF
	printf '%s\n' virtio_pci virtio_blk ext4 > "$tree/usr/share/initramfs-tools/modules.d/labctl"
	# A guest that loses its power is made anew, so its packages need not be on the disk one by one.
	echo force-unsafe-io > "$tree/etc/dpkg/dpkg.cfg.d/labctl-guest"
	exit 0
fi

: > "$tree/etc/machine-id" # empty: every guest gets one of its own, and that is no first boot
echo 'LABEL=rootfs / ext4 errors=remount-ro 0 1' > "$tree/etc/fstab"

# --- boot loader: this GRUB loads the grub.cfg that update-grub writes in the guest when a kernel is installed there
# tsc=reliable: an emulated guest would distrust its time stamp counters, which are the host's clock, and ask a slow HPET.
cat > "$tree/etc/default/grub" <<'CONF'
GRUB_DEFAULT=saved
GRUB_TIMEOUT=0
GRUB_DISABLE_SUBMENU=y
GRUB_DISABLE_OS_PROBER=true
GRUB_DISABLE_RECOVERY=true
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_CMDLINE_LINUX='console=ttyS0,115200 tsc=reliable $labctl_words'
CONF
# The host's own word for the kernel: the frequency of the time stamp counter, which an emulated guest may get wrong by itself.
seed_menu='search --no-floppy --label labctl-seed --set=labctl_seed
source ($labctl_seed)/host.cfg
export labctl_words'
printf '#!/bin/sh\ncat <<"MENU"\n%s\nMENU\n' "$seed_menu" > "$tree/etc/grub.d/01_labctl"
chmod 755 "$tree/etc/grub.d/01_labctl"
grub="$tree/boot/grub"
install -d "$grub"
cp -r "$tree/usr/lib/grub/i386-pc" "$grub/"
# `normal` and loadenv: with `configfile`, or without it, GRUB passes over saved_entry and next_entry in silence.
cat > "$grub/early.cfg" <<'CONF'
search --no-floppy --label rootfs --set=root
set prefix=($root)/boot/grub
normal $prefix/grub.cfg
CONF
chroot "$tree" grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/boot/grub' --config=/boot/grub/early.cfg \
	--output=/boot/grub/i386-pc/core.img biosdisk part_msdos ext2 search search_label configfile normal loadenv \
	serial terminal linux echo test ls
chroot "$tree" grub-editenv /boot/grub/grubenv create
release=$(basename "$tree"/boot/vmlinuz-*)
release=${release#vmlinuz-}
cat > "$grub/grub.cfg" <<CONF
# Until update-grub writes another one: the kernel that the image was built with.
load_env
serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
$seed_menu
menuentry 'Debian GNU/Linux, with Linux $release' {
	linux /boot/vmlinuz-$release root=LABEL=rootfs ro console=ttyS0,115200 tsc=reliable \$labctl_words
	initrd /boot/initrd.img-$release
}
CONF

# --- network: the names do not depend on the kernel, and what is the same for all guests is in the image
network="$tree/etc/systemd/network"
install -d "$network"
printf '[Match]\nMACAddress=52:54:00:6c:6d:01 52:54:00:6c:6d:02\n[Link]\nName=mgmt0\n' > "$network/10-mgmt0.link"
printf '[Match]\nMACAddress=52:54:00:6c:63:01 52:54:00:6c:63:02\n[Link]\nName=cable0\n' > "$network/10-cable0.link"
cat > "$network/10-mgmt0.network" <<'CONF'
[Match]
Name=mgmt0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
CONF

# --- what is a guest's own comes on a second, read-only disk: any kernel that finds its root file system can read it, and
# udev, which takes minutes on a busy machine that emulates, is not waited for
cat > "$tree/usr/local/sbin/labctl-seed" <<'CONF'
#!/bin/sh
set -eu
for block in /sys/block/vd*; do
	[ "$(cat "$block/serial")" != labctl-seed ] || device=/dev/${block##*/}
done
install -d -m 700 /run/labctl-seed
mount -t ext4 -o ro "$device" /run/labctl-seed
cp -a /run/labctl-seed/etc /run/labctl-seed/root /
umount /run/labctl-seed
cat /etc/hostname > /proc/sys/kernel/hostname
CONF
chmod 755 "$tree/usr/local/sbin/labctl-seed"
cat > "$tree/etc/systemd/system/labctl-seed.service" <<'CONF'
[Unit]
Description=What the lab gives this guest: name, keys, addresses
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target network-pre.target systemd-networkd.service
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/labctl-seed
[Install]
WantedBy=sysinit.target
CONF
systemctl --root="$tree" --quiet enable labctl-seed.service systemd-networkd.service chrony.service

# --- what costs an emulated boot seconds, or minutes on a busy machine, and no guest needs
systemctl --root="$tree" --quiet mask getty.target serial-getty@.service systemd-logind.service \
	systemd-networkd-wait-online.service systemd-pstore.service systemd-timesyncd.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service e2scrub_reap.service modprobe@.service \
	dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount nftables.service
# systemd gives up on what takes 90 s, and an emulated guest may.
install -d "$tree/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStartSec=10min\n' > "$tree/etc/systemd/system.conf.d/labctl.conf"
printf 'blacklist %s\n' ccp cfg80211 drm evdev floppy i2c_i801 iTCO_wdt kvm_amd kvm_intel lpc_ich pcspkr psmouse \
	serio_raw sr_mod > "$tree/etc/modprobe.d/labctl.conf"
