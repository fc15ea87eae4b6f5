# Made by `make docs` from the parser of submitctl.
_submitctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local path= word words=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "${path:+$path }$word" in
            'check') path='check' ;;
            'whoami') path='whoami' ;;
            'auth') path='auth' ;;
            'auth list') path='auth list' ;;
            'auth unblock') path='auth unblock' ;;
            'queue') path='queue' ;;
            'queue list') path='queue list' ;;
            'queue show') path='queue show' ;;
            'queue count') path='queue count' ;;
            'queue retry') path='queue retry' ;;
            'queue hold') path='queue hold' ;;
            'queue release') path='queue release' ;;
            'queue remove') path='queue remove' ;;
            'quota') path='quota' ;;
            'quota show') path='quota show' ;;
            'reload') path='reload' ;;
            'status') path='status' ;;
            'certificate') path='certificate' ;;
            'certificate show') path='certificate show' ;;
            'certificate renew') path='certificate renew' ;;
            'dkim') path='dkim' ;;
            'dkim genkey') path='dkim genkey' ;;
            'dkim show') path='dkim show' ;;
            'dkim check') path='dkim check' ;;
            'import') path='import' ;;
            'import postfix') path='import postfix' ;;
        esac
    done
    case "$prev" in
        --config | -c | --out)
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return ;;
    esac
    case "$path $prev" in
        'dkim genkey --type') words='rsa ed25519' ;;
        'dkim genkey --format') words='zone value' ;;
        'dkim show --format') words='zone value' ;;
    esac
    [ -n "$words" ] || case "$path" in
        '') words='check whoami auth queue quota reload status certificate dkim import -h --help --config -c --version' ;;
        'check') words='-h --help --live --with --json' ;;
        'whoami') words='-h --help --json' ;;
        'auth') words='list unblock -h --help' ;;
        'auth list') words='-h --help --json' ;;
        'auth unblock') words='-h --help --all' ;;
        'queue') words='list show count retry hold release remove -h --help' ;;
        'queue list') words='-h --help --sender --recipient --domain --older-than --held --json' ;;
        'queue show') words='-h --help --json --content' ;;
        'queue count') words='-h --help --json' ;;
        'queue retry') words='-h --help --sender --recipient --domain --older-than --held --json --all' ;;
        'queue hold') words='-h --help --sender --recipient --domain --older-than --held --json --all' ;;
        'queue release') words='-h --help --sender --recipient --domain --older-than --held --json --all' ;;
        'queue remove') words='-h --help --sender --recipient --domain --older-than --held --json --all' ;;
        'quota') words='show -h --help' ;;
        'quota show') words='-h --help --json' ;;
        'reload') words='-h --help' ;;
        'status') words='-h --help --json' ;;
        'certificate') words='show renew -h --help' ;;
        'certificate show') words='-h --help --json' ;;
        'certificate renew') words='-h --help --force --json' ;;
        'dkim') words='genkey show check -h --help' ;;
        'dkim genkey') words='-h --help --selector --type --bits --out --format' ;;
        'dkim show') words='-h --help --format --json' ;;
        'dkim check') words='-h --help --json' ;;
        'import') words='postfix -h --help' ;;
        'import postfix') words='-h --help --dovecot --opendkim --root' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _submitctl submitctl
