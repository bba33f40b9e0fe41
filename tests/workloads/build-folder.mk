# One directory. Programs by their paths: busybox's shell would run its own `sed` and `rm` without exec, and its own `ar`.
OBJECTS := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))

built-in.a: $(OBJECTS)
	/bin/rm -f $@; /usr/bin/ar rcs $@ $(OBJECTS)

%.o: %.c
	/usr/bin/gcc-12 -O1 -nostdinc -ffreestanding -fno-pic -Wp,-MMD,.$*.d -I.. -c -o $@ $<; \
	(echo "cmd_$@ := gcc-12 -c $<"; /bin/sed -e 's/^[^:]*://' -e 's/\\$$//' .$*.d) > .$*.cmd; /bin/rm -f .$*.d
