#!/bin/sh
# A ledger in a file: each call writes an entry, under a lock. See tests/src/client/ledger/chain.rs.
#   ?TOKEN -> NUMBER BEFORE AFTER TOKEN        ?end -> NUMBER STATE ok
set -o noclobber
# Not `:`, whose failed redirection ends the shell.
until { true >/data/lock; } 2>/dev/null; do sleep 0.01; done
number=0 before=1
[ ! -e /data/ledger ] || read -r number before </data/ledger
case $QUERY_STRING in
end) text="$number $before ok" ;;
*)
    number=$((number + 1)) after=$(((before * 48271 + QUERY_STRING) % 2147483647))
    echo "$number $after" >|/data/ledger
    text="$number $before $after $QUERY_STRING"
    ;;
esac
rm /data/lock
printf 'Content-Type: text/plain\nContent-Length: %d\n\n%s\n' $((${#text} + 1)) "$text"
