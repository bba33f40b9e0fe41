//! The Debian packages of each image: programs, and the libraries that they and the modules they load are linked with, found once
//! with `ldd`; a missing one fails the check at the end of the recipe. libgcc is loaded by pthread_exit.

pub(super) const NGINX_PACKAGES: &[&str] = &["libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g", "nginx", "nginx-common"];
pub(super) const PYTHON_PACKAGES: &[&str] = &[
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libbz2-1.0",
    "liblzma5",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "zlib1g",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "python3.11-minimal",
];

/// Those of the modules that the configuration loads.
pub(super) const APACHE_PACKAGES: &[&str] = &[
    "busybox-static",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libgcc-s1",
    "libpcre2-8-0",
    "libuuid1",
    "libapr1",
    "libaprutil1",
    "apache2-bin",
];

pub(super) const REDIS_PACKAGES: &[&str] = &[
    "libc6",
    "libatomic1",
    "libcap2",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libjemalloc2",
    "liblua5.1-0",
    "liblz4-1",
    "liblzf1",
    "liblzma5",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
    "lua-bitop",
    "lua-cjson",
    "redis-server",
    "redis-tools",
];
pub(super) const NODEJS_PACKAGES: &[&str] = &[
    "libc6",
    "libbrotli1",
    "libc-ares2",
    "libgcc-s1",
    "libicu72",
    "libnghttp2-14",
    "libnode108",
    "libssl3",
    "libstdc++6",
    "libuv1",
    "node-acorn",
    "node-cjs-module-lexer",
    "node-undici",
    "nodejs",
    "zlib1g",
];
pub(super) const JAVA_PACKAGES: &[&str] = &["libc6", "libgcc-s1", "libstdc++6", "openjdk-17-jre-headless", "zlib1g"];
/// gcc's passes are in three packages; its libraries are not needed, for nothing is linked with them.
pub(super) const BUILD_PACKAGES: &[&str] = &[
    "busybox-static",
    "libc6",
    "binutils-x86-64-linux-gnu",
    "cpp-12",
    "gcc-12",
    "libbinutils",
    "libctf-nobfd0",
    "libctf0",
    "libgcc-s1",
    "libgmp10",
    "libisl23",
    "libjansson4",
    "libmpc3",
    "libmpfr6",
    "libstdc++6",
    "libzstd1",
    "make",
    "zlib1g",
];
