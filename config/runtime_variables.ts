/**
 * Variables with which whoever sets them runs code of his own in a program that was meant to do something else: they
 * tell loaders, interpreters, shells and package managers what to load and where from. A request never sets one.
 *
 * @module
 */

/** Names, in capitals. */
const NAMES = new Set([
  // Where programs and their settings are found.
  ...["PATH", "HOME", "SHELL", "CDPATH", "TMPDIR", "TMP", "TEMP", "TEMPDIR", "USERPROFILE", "EXINIT"],
  // Shells.
  ...[
    "ENV",
    "BASH_ENV",
    "BASHOPTS",
    "SHELLOPTS",
    "IFS",
    "ZDOTDIR",
    "PS1",
    "PS2",
    "PS4",
    "PROMPT_COMMAND",
    "FPATH",
  ],
  // Programs that others start.
  ...["EDITOR", "VISUAL", "PAGER", "MANPAGER", "BROWSER", "LESSOPEN", "LESSCLOSE"],
  // The C library and OpenSSL, which load modules that these name.
  ...["GCONV_PATH", "LOCPATH", "NLSPATH", "GLIBC_TUNABLES", "GETCONF_DIR", "HOSTALIASES", "RESOLV_HOST_CONF"],
  ...["TERMINFO", "TERMINFO_DIRS", "TERMCAP"],
  // Go: its tools run what these name.
  ...["GOBIN", "GODEBUG", "GOENV", "GOFLAGS", "GOPATH", "GOPROXY", "GOROOT", "GOTOOLCHAIN", "GOTOOLDIR"],
  // Java.
  ...[
    "CLASSPATH",
    "JAVA_HOME",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "VIRTUAL_ENV",
  ],
]);

/** How names begin, in capitals. */
const PREFIXES = [
  // Loaders.
  ...["LD_", "DYLD_", "MALLOC_", "OPENSSL_", "SSL_", "XDG_"],
  // JavaScript.
  ...[
    "NODE_",
    "DENO_",
    "BUN_",
    "TS_NODE_",
    "TSX_",
    "ELECTRON_",
    "NPM_CONFIG_",
    "YARN_",
    "PNPM_",
    "COREPACK_",
    "NVM_",
    "VOLTA_",
  ],
  // Python.
  ...["PYTHON", "PYENV_", "PIP_", "PIPX_", "UV_", "POETRY_", "CONDA_"],
  // Others.
  ...[
    "PERL",
    "RUBY",
    "GEM_",
    "BUNDLE_",
    "LUA_",
    "PHP",
    "CARGO_",
    "RUST",
    "MAVEN_",
    "GRADLE_",
    "KOTLIN_",
    "JVM_",
  ],
  ...["DOTNET_", "CORECLR_", "COMPLUS_", "MONO_", "ERL_", "ELIXIR_", "GUILE_", "JULIA_", "ASDF_", "MISE_"],
  // Git and Docker run what their variables name; functions of bash run by themselves.
  ...["GIT_", "SSH_", "DOCKER_", "BASH_FUNC_"],
  // The gateway's own marks.
  "SOJOURN_",
];

/** Whether a variable is one of those. Case does not matter: to some programs it does not. */
export function isRuntimeVariable(name: string): boolean {
  const upper = name.toUpperCase();
  return NAMES.has(upper) || PREFIXES.some((prefix) => upper.startsWith(prefix));
}
