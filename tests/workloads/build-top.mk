# All directories, each by a make of its own, and one object of all.
FOLDERS := $(sort $(wildcard d*))

whole.o: $(FOLDERS:=/built-in.a)
	ld -r --whole-archive -o $@ $^

# Made each time: the make in the directory knows what is out of date there.
.PHONY: force
%/built-in.a: force
	$(MAKE) -s -C $* -f /build/folder.mk
