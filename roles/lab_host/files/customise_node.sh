#!/bin/sh
# Makes a Debian tree a node of a lab, whatever kind the lab is of. Run by mmdebstrap as `customise_node.sh STAGE TREE`,
# where STAGE is extracted (the essential packages lie there, nothing is configured) or installed. Part of the tree's
# cache key, as is the script of the lab's kind that runs after it.
set -eu
stage=$1
tree=$2
no_node_reads='doc info lintian locale man'

if [ "$stage" = extracted ]; then
	# Here and not as --dpkgopt: mmdebstrap would then filter every archive of the first stage by a script, at half
	# the time of the whole build.
	for part in $no_node_reads; do
		echo "path-exclude=/usr/share/$part/*"
	done > "$tree/etc/dpkg/dpkg.cfg.d/labctl"
	exit 0
fi

for part in $no_node_reads; do
	rm -rf "$tree/usr/share/$part"
	mkdir "$tree/usr/share/$part"
done

# Host keys belong to a lab, and the machine's identity to a node: a node gets both of its own.
rm -f "$tree"/etc/ssh/ssh_host_*
rm -f "$tree/etc/machine-id" "$tree/var/lib/dbus/machine-id"
rm -f "$tree/etc/hostname" "$tree/etc/resolv.conf"
# The way to the archive is the host's of the day, not that of the day of the build.
rm -f "$tree/etc/apt/apt.conf.d/99mmdebstrap"
echo 'Acquire::Languages "none";' > "$tree/etc/apt/apt.conf.d/90labctl"

install -d "$tree/etc/ssh/sshd_config.d"
cat > "$tree/etc/ssh/sshd_config.d/labctl.conf" <<'CONF'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
UsePAM no
PrintMotd no
CONF

systemctl --root="$tree" --quiet enable ssh.service
systemctl --root="$tree" --quiet set-default multi-user.target
# What wakes up during a measurement.
systemctl --root="$tree" --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	fstrim.timer man-db.timer systemd-tmpfiles-clean.timer
# The package starts a netserver of its own on every address: measurements start theirs where they need it.
systemctl --root="$tree" --quiet mask netperf.service
