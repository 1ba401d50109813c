#!/usr/bin/env bash
# Installs what hopbench's reference setup needs on Debian or Ubuntu, and starts the container
# engine: Docker, RabbitMQ, Chromium, tcpdump, and a base image made from the machine's own package
# sources.
#
# Run as root. Every step that is already done is skipped, so it may be run again. What the package
# tools say goes to the log; only what was done is printed.
set -euo pipefail

readonly BASE_IMAGE=hopbench/base:bookworm
readonly SUITE=bookworm
readonly LOG=/var/log/hopbench-provision.log
readonly ENGINE_LOG=/var/log/hopbench-dockerd.log
readonly ENGINE_PID=/run/hopbench-dockerd.pid
readonly ENGINE_WAIT_S=60
readonly POLICY=/usr/sbin/policy-rc.d

policy_is_ours=no
work_dir=""

say() { printf 'provision: %s\n' "$*"; }

die() {
    printf 'provision: error: %s\n' "$*" >&2
    exit 2
}

# The log's last lines, without the addresses in them.
show_log() {
    tail -n 8 "$1" | sed -E 's#[A-Za-z+]+://[^[:space:]]+#(address)#g; s/^/    /' >&2
}

clean_up() {
    if [ "$policy_is_ours" = yes ]; then rm -f "$POLICY"; fi
    if [ -n "$work_dir" ]; then rm -rf --one-file-system "$work_dir"; fi
}
trap clean_up EXIT

quietly() {
    if ! "$@" >>"$LOG" 2>&1 </dev/null; then
        show_log "$LOG"
        die "'$1 ${2:-}' failed; everything it said is in $LOG"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }
has_systemd() { [ -d /run/systemd/system ]; }
engine_answers() { docker info >/dev/null 2>&1; }
has_browser() { have chromium || have chromium-browser || have google-chrome; }
has_candidate() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# Packages would start their services as they are installed; a policy of 101 forbids it.
hold_services() {
    if [ -e "$POLICY" ]; then return; fi
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 0755 "$POLICY"
}

install_packages() {
    local wanted=() rabbitmq_is_new=no
    # Asked by command, not by package: an engine from another source is as good.
    have dockerd || wanted+=(docker.io)
    have iptables || wanted+=(iptables)
    have ip || wanted+=(iproute2)
    have debootstrap || wanted+=(debootstrap)
    have tcpdump || wanted+=(tcpdump)
    have rabbitmq-server || { wanted+=(rabbitmq-server) && rabbitmq_is_new=yes; }
    if [ "${#wanted[@]}" -eq 0 ] && has_browser && have docker; then
        say "packages: all there"
        return
    fi
    say "packages: reading the machine's package sources"
    quietly apt-get update
    if ! has_browser; then
        # Ubuntu has Chromium as a snap only, which needs a running snapd.
        if has_candidate chromium; then
            wanted+=(chromium)
        else
            say "no Chromium package here: get one with 'python -m playwright install chromium'"
        fi
    fi
    # Since Debian 13 the engine comes without its command.
    if ! have docker && has_candidate docker-cli; then wanted+=(docker-cli); fi
    if [ "${#wanted[@]}" -eq 0 ]; then return; fi
    say "packages: installing ${wanted[*]}"
    hold_services
    quietly apt-get install --yes --no-install-recommends "${wanted[@]}"
    if [ "$policy_is_ours" = yes ]; then
        rm -f "$POLICY"
        policy_is_ours=no
    fi
    # hopbench starts a private node of its own where it needs one; the system's stays off.
    if [ "$rabbitmq_is_new" = yes ] && has_systemd; then
        quietly systemctl disable rabbitmq-server
    fi
}

start_engine() {
    if engine_answers; then
        say "engine: answers"
        return
    fi
    if has_systemd; then
        say "engine: starting the docker service"
        quietly systemctl enable --now docker
    else
        say "engine: starting dockerd in the background, log $ENGINE_LOG"
        setsid dockerd >>"$ENGINE_LOG" 2>&1 </dev/null &
        echo "$!" >"$ENGINE_PID"
    fi
    local second
    for ((second = 0; second < ENGINE_WAIT_S; second++)); do
        if engine_answers; then
            say "engine: answers"
            return
        fi
        if [ -e "$ENGINE_PID" ] && ! kill -0 "$(cat "$ENGINE_PID")" 2>/dev/null; then
            rm -f "$ENGINE_PID"
            show_log "$ENGINE_LOG"
            die "dockerd ended at once; everything it said is in $ENGINE_LOG"
        fi
        sleep 1
    done
    die "the engine did not answer within $ENGINE_WAIT_S s; see $ENGINE_LOG or 'systemctl status docker'"
}

# The first source of this machine that serves Debian: apt's own reading of its source files.
debian_mirror() {
    # apt's fields, not the shell's.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME) $(LABEL)' \
        'Created-By: Packages' |
        awk -v suite="$SUITE" '
            $1 !~ /^https?:/ { next }
            $2 == suite || $3 == suite { print $1; found = 1; exit }
            $4 == "Debian" && !other { other = $1 }
            END { if (!found && other) print other }'
}

build_base_image() {
    if docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; then
        say "base image: $BASE_IMAGE is there"
        return
    fi
    local mirror
    mirror=$(debian_mirror)
    if [ -z "$mirror" ]; then
        say "base image: this machine's package sources do not serve Debian; images are pulled instead"
        return
    fi
    say "base image: making $BASE_IMAGE (about a minute)"
    work_dir=$(mktemp -d /var/tmp/hopbench-base.XXXXXX)
    quietly debootstrap --variant=minbase --include=python3,ca-certificates \
        "$SUITE" "$work_dir" "$mirror"
    rm -rf "$work_dir"/var/cache/apt/archives/*.deb "$work_dir"/var/lib/apt/lists/*
    if ! tar -C "$work_dir" -c . | docker import - "$BASE_IMAGE" >>"$LOG" 2>&1; then
        show_log "$LOG"
        die "the base image could not be imported; see $LOG"
    fi
    say "base image: $BASE_IMAGE is made"
}

main() {
    [ "$(id -u)" -eq 0 ] || die "needs root: run it with sudo"
    have apt-get || die "knows Debian and Ubuntu only; elsewhere install Docker, RabbitMQ and Chromium yourself"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    # sudo's path may lack the folders of system programs.
    export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
    install_packages
    start_engine
    build_base_image
    say "done; 'python -m bench doctor' says what this machine has"
}

main "$@"
