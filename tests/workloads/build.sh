#!/bin/sh
# Builds AMOUNT objects as a kernel is built: a make in each directory, and for each object a compiler, its passes, and small
# programs on the dependencies that it wrote. Prints `begin` when the sources are there and the tools warm, `end` when it is done.
set -eu
amount=${AMOUNT:-40}
each=10
mkdir -p /tmp/build
cd /tmp/build
cp /build/unit.h .
made=0
while [ "$made" -lt "$amount" ]; do
    folder=d$((made / each))
    mkdir -p "$folder"
    sed "s/NAME/unit_$made/g" /build/unit.c >"$folder/unit_$made.c"
    made=$((made + 1))
done
make -s -f /build/top.mk d0/built-in.a
rm -f d0/*.o d0/*.cmd d0/built-in.a
echo begin
make -s -j2 -f /build/top.mk
echo end
exec sleep 1000
