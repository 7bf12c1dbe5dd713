# Read by llama.cpp's CMake files where the library is compiled for Python: its tools' common code is not needed there,
# and takes longer to compile than the library.
set(LLAMA_BUILD_COMMON OFF)
