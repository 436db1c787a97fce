# The short way in: `make run` and `make test` do everything on a fresh Debian 12. Meson and Ninja do the work.
BUILD ?= build

.PHONY: run test test-interop bench format lint asan tsan build clean

run: build
	@tools/setup demo
	$(BUILD)/ocelli demo

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) ocelli

$(BUILD)/build.ninja:
	@tools/setup build test
	meson setup $(BUILD) --buildtype=release

test:
	@tools/setup build test
	@tools/test $(BUILD) --buildtype=release

# Address and undefined behaviour; then threads. The same tests, other builds.
asan:
	@tools/setup build test
	@tools/test build-asan --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false

tsan:
	@tools/setup build test
	@tools/test build-tsan --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false

bench: build
	@tools/setup bench
	bench/run $(BUILD)

test-interop: build
	tests/interop/run $(BUILD)

format:
	@tools/setup lint
	clang-format -i $$(git ls-files '*.c' '*.h')

lint: $(BUILD)/build.ninja
	@tools/setup lint
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')
	clang-tidy -quiet -p $(BUILD) $$(git ls-files 'src/*.c')

clean:
	rm -rf build build-asan build-tsan
