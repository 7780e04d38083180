# Completion of vnic for bash: source it, or install it as /usr/share/bash-completion/completions/vnic

_vnic() {
    local word=${COMP_WORDS[COMP_CWORD]} before="" command="" words=""
    ((COMP_CWORD)) && before=${COMP_WORDS[COMP_CWORD - 1]}
    ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
    COMPREPLY=()
    case $command:$before in
        run:--driver) words="arp capture hold icmp_echo sink udp" ;;
        run:--filter) words="mux passthru" ;;
        run:--log-format) words="auto text json" ;;
        run:--verifier) words="0 1" ;;
        run:--address | run:--mtu | run:--mac | run:--packets | run:--stats-interval | run:--drain-timeout | run:--*-fd) return ;;
        run:--config) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
        run:*)
            words="--help --config --driver --filter --address --mtu --mac --packets --verifier --stats-interval --log-format --drain-timeout
                   --tap-fd --ready-fd"
            [[ $word == -* ]] || words=$(cd /sys/class/net 2>/dev/null && echo *)
            ;;
        check:*)
            words="--help"
            [[ $word == -* ]] || { mapfile -t COMPREPLY < <(compgen -f -- "$word") && return; }
            ;;
        *) words="run check"; [[ $word == -* ]] && words="--help --version" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -o filenames -F _vnic vnic
