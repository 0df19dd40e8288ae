# Toolchain file: compiles and links with zig (`pip install ziglang` has it for every system), for this system or another.
# The build backend uses it where no compiler is found, scripts/wheels for every wheel:
#
#   cmake -S . -B FOLDER -DCMAKE_TOOLCHAIN_FILE=cmake/zig.cmake -DQWILL_ZIG=/path/to/zig -DQWILL_ZIG_TARGET=TARGET
#
# QWILL_ZIG         zig's program: ziglang/zig or ziglang/zig.exe in the folder of installed packages
# QWILL_ZIG_TARGET  processor, system and libc as zig writes them: x86_64-linux-gnu.2.28, aarch64-linux-gnu.2.28 (with the
#                   oldest glibc that may load the result), x86_64-linux-musl, aarch64-macos.11.0-none,
#                   x86_64-macos.11.0-none, x86_64-windows-gnu
#
# The target is always named: zig compiles for the very processor it runs on otherwise. A named one means the processor's
# baseline, which each kernel's own flags raise. libc++ is linked in, so the result needs nothing but libc.
#
# No binutils and no wrapper scripts: archives are made by zig, too, and what has no use for it is turned off.
foreach(parameter QWILL_ZIG QWILL_ZIG_TARGET)
  if(NOT ${parameter})
    message(FATAL_ERROR "cmake/zig.cmake needs -D${parameter}=...; the file says what it is.")
  endif()
endforeach()
# CMake reads this file again for each of its trial programs, which must know the parameters.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES QWILL_ZIG QWILL_ZIG_TARGET)

string(REGEX MATCH "^([^-]+)-([a-z]+)" _ "${QWILL_ZIG_TARGET}")
set(zig_processor "${CMAKE_MATCH_1}")
set(zig_systems_linux Linux)
set(zig_systems_macos Darwin)
set(zig_systems_windows Windows)
set(zig_system "${zig_systems_${CMAKE_MATCH_2}}")
if(NOT zig_system)
  message(FATAL_ERROR "cmake/zig.cmake knows no system in QWILL_ZIG_TARGET=${QWILL_ZIG_TARGET}: linux, macos and windows it knows.")
endif()
if(zig_system STREQUAL "Darwin" AND zig_processor STREQUAL "aarch64")
  set(zig_processor arm64)
elseif(zig_system STREQUAL "Windows" AND zig_processor STREQUAL "x86_64")
  set(zig_processor AMD64)
endif()
# Named only where it is another system than this: CMake takes a named one for cross-compiling.
if(NOT zig_system STREQUAL CMAKE_HOST_SYSTEM_NAME OR NOT zig_processor STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR)
  set(CMAKE_SYSTEM_NAME ${zig_system})
  set(CMAKE_SYSTEM_PROCESSOR ${zig_processor})
endif()

set(CMAKE_CXX_COMPILER "${QWILL_ZIG}" c++ -target ${QWILL_ZIG_TARGET})
set(CMAKE_C_COMPILER "${QWILL_ZIG}" cc -target ${QWILL_ZIG_TARGET})
# zig checks for undefined behaviour where nothing is optimized; the same code whatever the build type.
set(CMAKE_CXX_FLAGS_INIT -fno-sanitize=undefined)
set(CMAKE_C_FLAGS_INIT -fno-sanitize=undefined)
# It writes debugging information unless it is told not to, which costs time and memory before the linker strips it.
set(CMAKE_CXX_FLAGS_RELEASE_INIT -g0)
set(CMAKE_C_FLAGS_RELEASE_INIT -g0)

set(CMAKE_AR "${QWILL_ZIG}" CACHE FILEPATH "zig makes the archives")
set(CMAKE_RANLIB "${QWILL_ZIG}" CACHE FILEPATH "zig makes the archives")
foreach(language C CXX)
  set(CMAKE_${language}_ARCHIVE_CREATE "<CMAKE_AR> ar qc <TARGET> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_APPEND "<CMAKE_AR> ar q <TARGET> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_FINISH "<CMAKE_RANLIB> ranlib <TARGET>")
endforeach()
# Programs of this machine that know nothing of the target's files.
foreach(tool STRIP INSTALL_NAME_TOOL OBJCOPY OBJDUMP NM READELF LINKER DLLTOOL)
  set(CMAKE_${tool} "" CACHE FILEPATH "Not used with zig")
endforeach()
# The linker strips, since there is no program that does.
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_RELEASE_INIT -s)
endforeach()
if(zig_system STREQUAL "Darwin")
  # Read after CMake's own rules for macOS, whose bundles are unknown to zig's linker: a library, as Python loads as well.
  set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX "${CMAKE_CURRENT_LIST_DIR}/zig_macos.cmake")
endif()
if(zig_system STREQUAL "Windows")
  set(CMAKE_RC_COMPILER "${QWILL_ZIG}" CACHE FILEPATH "Asked for by CMake; nothing is compiled by it")
  set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX "${CMAKE_CURRENT_LIST_DIR}/zig_windows.cmake")
endif()
