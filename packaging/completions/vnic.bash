# Completion of vnic for bash: source it, or install it as /usr/share/bash-completion/completions/vnic

# Offer those of some words that begin with what was typed.
_vnic_offer() {
    local offered
    for offered; do
        [[ $offered == "$word"* ]] && COMPREPLY+=("$offered")
    done
}

# The same with the names of files; anybody may have made one, and what the shell would expand (as compgen -W does) is not offered.
_vnic_offer_names() {
    local path name
    for path; do
        name=${path##*/}
        name=${name%.sock}
        [[ -e $path && $name != *[^[:alnum:]._-]* ]] && _vnic_offer "$name"
    done
}

_vnic() {
    local word=${COMP_WORDS[COMP_CWORD]} before="" command="" words=""
    ((COMP_CWORD)) && before=${COMP_WORDS[COMP_CWORD - 1]}
    ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
    COMPREPLY=()
    # the inspector's commands, each with the options that only it has
    local -A asking=(
        ["show"]=""
        ["watch"]="--every"
        ["stats"]="--openmetrics"
        ["pools"]=""
        ["bindings"]=""
        ["pending"]="--older-than --top --driver --pcap"
        ["leaks"]="--older-than"
        ["packet"]="--pool --hex --decode --pcap"
        ["log"]="--packet --driver --force"
        ["violations"]="--rule --since"
        ["violation"]=""
        ["verify show"]=""
        ["verify set"]="--driver --pool"
        ["verify rule"]=""
        ["verify inject"]="--off"
        ["verify audit"]=""
        ["locks"]=""
        ["threads"]=""
        ["doctor"]=""
        ["report"]="--html"
    )
    local question=$command
    [[ $command == verify ]] && ((COMP_CWORD > 2)) && question="verify ${COMP_WORDS[2]}"
    if [[ -n $question && -v asking[$question] ]]; then
        case $before in
            --pcap | --html | --control) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
            --every | --older-than | --top | --driver | --packet | --pool | --rule | --since) return ;;
        esac
        if [[ $word == -* ]]; then
            _vnic_offer --help --json --control ${asking[$question]}
            return
        fi
        _vnic_offer_names "${RUNTIME_DIRECTORY:-/run/vnic}"/*.sock
        return
    fi
    case $command:$before in
        run:--driver) words="arp capture classify hold icmp_echo sink udp" ;;
        run:--filter) words="mux passthru" ;;
        run:--log-format) words="auto text json" ;;
        run:--reader) words="auto read io_uring" ;;
        run:--verifier) words="0 1 2 3 4" ;;
        run:--control) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
        run:--address | run:--mtu | run:--mac | run:--packets | run:--queues | run:--stats-interval | run:--busy-poll-us | run:--drain-timeout | run:--*-fd) return ;;
        run:--config) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
        run:*)
            words="--help --config --driver --filter --address --mtu --mac --packets --offload --verifier --stats-interval --log-format
                   --queues --reader --busy-poll-us --drain-timeout --control --tap-fd --ready-fd"
            if [[ $word != -* ]]; then
                _vnic_offer_names /sys/class/net/*
                return
            fi
            ;;
        check:*)
            words="--help"
            [[ $word == -* ]] || { mapfile -t COMPREPLY < <(compgen -f -- "$word") && return; }
            ;;
        verify:*) words="show set rule inject audit"; [[ $word == -* ]] && words="--help" ;;
        *)
            words="run check show watch stats pools bindings pending leaks packet log violations violation verify locks threads doctor report"
            [[ $word == -* ]] && words="--help --version"
            ;;
    esac
    _vnic_offer $words
}

complete -o filenames -F _vnic vnic
