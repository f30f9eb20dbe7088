#!/bin/sh
# The routers at the ends know the way to each other, and it is one.
cd "$(dirname "$0")" || exit
. ../within.sh

learns() { tapestry lab exec . "$1" -- ip route show "$2" | grep 'proto isis'; }

within 60 "r1 has learnt where r3 is" learns r1 10.255.0.3
within 60 "r3 has learnt where r1 is" learns r3 10.255.0.1
within 10 "r1 reaches r3" tapestry lab exec . r1 -- ping -c1 -W1 -I 10.255.0.1 10.255.0.3
