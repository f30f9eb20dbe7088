# For the labs' verify.sh: tries a command again and again, and says what is so when it has succeeded; ends the script where it has not.

within() { # SECONDS WHAT COMMAND ..
    left=$(($1 * 5)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || { echo "not so: $what" >&2; exit 1; }
        sleep 0.2
    done
    echo "$what"
}
