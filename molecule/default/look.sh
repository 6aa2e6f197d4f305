# Everything that a role may leave on a node, compared with how the first look found it. Differences are printed, and
# are an exit code of 1. Files below /var/lib/labctl are no traces: provisioning is meant to stay.
now=/run/molecule.now before=/run/molecule.before
{
    ip -oneline link show
    ip -oneline address show
    ip route show table all
    ip rule show
    ip netns list
    nft list ruleset
    cat /proc/net/ip_tables_names || echo 'no legacy tables'
    tc qdisc show
    tc filter show dev cable0 ingress
    systemctl list-units --all --no-legend --plain 'labctl*'
    ls /run/systemd/system
    ls -A /run/labctl /sys/fs/bpf || echo 'no record'
    pgrep -a 'netserver|netperf' || echo 'no netperf'
    sysctl -a --pattern '^net.ipv4.(conf|ip_forward)'
} > $now 2> /dev/null
[ -e $before ] || cp $now $before
diff $before $now
