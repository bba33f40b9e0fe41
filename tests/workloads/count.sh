#!/bin/sh
# Counts once a second: in a variable, in a file and on standard output. A number that is lost or repeated in any of them shows.
count=0
while :; do
    count=$((count + 1))
    echo "$count" >>/data/count
    echo "$count"
    sleep 1
done
