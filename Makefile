# Thalweg. `make` builds build/release/thalweg and the library beside it;
# MODE=asan and MODE=tsan build the same under sanitizers, MODE=fuzz with clang's fuzzer, MODE=arm64 for ARM64.
MODE ?= release
PREFIX ?= /usr/local
DESTDIR ?=
B := build/$(MODE)
VERSION := 0.1.0

PACKAGES := yaml-0.1 libpcre2-8 libzstd liblz4 libutf8proc libxxhash simdjson libhwy libhwy-contrib
# Those without a pkg-config file, and librdkafka, whose own asks for libraries that only a static one needs.
OTHER_LIBS := -lrdkafka -lisal -lhttp_parser

ifeq ($(MODE),fuzz)
CC := clang
CXX := clang++
else ifeq ($(MODE),arm64)
CC := $(filter ccache,$(CC)) aarch64-linux-gnu-gcc
CXX := $(filter ccache,$(CXX)) aarch64-linux-gnu-g++
else
CC ?= gcc
CXX ?= g++
endif

WARN := -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers $(if $(CI),-Werror)
COMMON := -Iinclude -Isrc -fPIC -fvisibility=hidden -pthread -g -DTHALWEG_VERSION='"$(VERSION)"' -D_GNU_SOURCE
OPT_release := -O3 -fno-plt
# Debian's libraries for ARM64 lie beside those of this machine (scripts/setup build arm64).
ARM64_SYSROOT := build/arm64/sysroot
ARM64_LIBS := usr/lib/aarch64-linux-gnu lib/aarch64-linux-gnu
OPT_arm64 := -O1 -isystem $(ARM64_SYSROOT)/usr/include
OPT_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer
OPT_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT := $(OPT_$(MODE))
CFLAGS += -std=c17 $(WARN) $(COMMON) $(OPT)
CXXFLAGS += -std=c++17 $(WARN) $(COMMON) $(OPT)
LIBS = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) $(OTHER_LIBS) -lm -lstdc++ -pthread -ldl
ifeq ($(MODE),arm64)
LIBS += $(ARM64_LIBS:%=-L$(ARM64_SYSROOT)/%) $(ARM64_LIBS:%=-Wl,-rpath-link,$(ARM64_SYSROOT)/%)
endif

HOUSES := base data expr engine step io
SOURCES := $(foreach h,$(HOUSES),$(wildcard src/$(h)/*.c src/$(h)/*.cc)) $(wildcard src/api/*.c)
# The command's measuring: no part of the library.
BENCH_SOURCES := $(wildcard src/bench/*.c)
CLI_SOURCES := $(wildcard src/cli/*.c)
OBJECTS := $(SOURCES:%=$(B)/%.o)
BENCH_OBJECTS := $(BENCH_SOURCES:%=$(B)/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%=$(B)/%.o)
UNIT_SOURCES := $(wildcard tests/unit/*_test.c tests/unit/*/*_test.c)
UNIT := $(UNIT_SOURCES:tests/%.c=$(B)/tests/%)
FUZZ_SOURCES := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ := $(FUZZ_SOURCES:tests/%.c=$(B)/tests/%)

all: deps $(B)/thalweg $(B)/libthalweg.a $(B)/libthalweg.so

# Installs what is missing, once; quiet when everything is there.
deps: build/.deps
build/.deps: scripts/setup
	@mkdir -p build
	@scripts/setup build
	@touch $@

$(B)/%.c.o: %.c | build/.deps
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/%.cc.o: %.cc | build/.deps
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -MMD -MP -c $< -o $@

$(B)/libthalweg.a: $(OBJECTS)
	@rm -f $@
	ar rcs $@ $^
$(B)/libthalweg.so: $(OBJECTS)
	$(CC) -shared -Wl,-soname,libthalweg.so.0 $(OPT) $^ $(LIBS) -o $@
$(B)/libbench.a: $(BENCH_OBJECTS)
	@rm -f $@
	ar rcs $@ $^
$(B)/thalweg: $(CLI_OBJECTS) $(B)/libbench.a $(B)/libthalweg.a
	$(CC) $(OPT) $^ $(LIBS) -o $@

# A unit test is one cmocka program per file; a fuzz target replays its corpus without clang.
$(B)/tests/unit/%: tests/unit/%.c $(B)/libbench.a $(B)/libthalweg.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -Itests $< $(B)/libbench.a $(B)/libthalweg.a $(LIBS) -lcmocka -o $@
ifeq ($(MODE),fuzz)
$(B)/tests/fuzz/%: tests/fuzz/%.c $(B)/libbench.a $(B)/libthalweg.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fsanitize=fuzzer -Itests $< $(B)/libbench.a $(B)/libthalweg.a $(LIBS) -o $@
else
$(B)/tests/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c $(B)/libbench.a $(B)/libthalweg.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -Itests $< tests/fuzz/replay.c $(B)/libbench.a $(B)/libthalweg.a $(LIBS) -o $@
endif

unit: $(UNIT)
fuzz: $(FUZZ)

clean:
	rm -rf build/release build/asan build/tsan build/fuzz build/arm64/src build/arm64/tests

-include Makefile.targets
-include $(OBJECTS:.o=.d) $(BENCH_OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(UNIT:%=%.d) $(FUZZ:%=%.d)

.PHONY: all deps unit fuzz clean
.DELETE_ON_ERROR:
.SECONDARY:
