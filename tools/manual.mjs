/**
 * Writes what shells and `man` know of the command taskcluster-proxy, from the same table of settings
 * as --help: dist/completions and dist/man, after tsc has written dist/.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DESCRIPTION, describe, FORMS } from '../dist/cli/help.js';
import { FLAGS, ROWS } from '../dist/settings.js';
import { manifest, ROOT } from './platforms.mjs';

const COMMAND = 'taskcluster-proxy';

const flags = FLAGS.map(([, row]) => row);

/** What stands for a value in the help, where a shell can complete it. */
const COMPLETED = { path: 'files', username: 'users' };

for (const [file, content] of Object.entries({
  'completions/taskcluster-proxy.bash': bash(),
  'completions/_taskcluster-proxy': zsh(),
  'completions/taskcluster-proxy.fish': fish(),
  'man/taskcluster-proxy.1': manualPage(),
})) {
  const path = join(ROOT, 'dist', file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** The spellings of a flag with their dashes, the short one first. */
function spellings({ flag, short }) {
  return short === undefined ? [`--${flag}`] : [`-${short}`, `--${flag}`];
}

function takesValue({ kind }) {
  return kind !== 'switch';
}

/** Options end at the first scope, and a flag is offered again only where it may be repeated. */
function bash() {
  const read = flags.map((row) => {
    const name = `--${row.flag}`;
    const notes = [
      ...(takesValue(row) ? [`flag=${name}`] : []),
      ...(row.many === undefined ? [`given+='${name} '`] : []),
    ];
    return `      ${spellings(row).join(' | ')}) ${notes.join(' ')} ;;\n`;
  });
  const ways = {
    files:
      'compopt -o filenames 2> /dev/null; IFS=$\'\\n\'; COMPREPLY=($(compgen -f -- "$current"))',
    users: 'COMPREPLY=($(compgen -u -- "$current"))',
  };
  const values = flags
    .map((row) => [
      row,
      row.choices ? `COMPREPLY=(${words(row.choices)})` : ways[COMPLETED[row.value]],
    ])
    .filter(([, way]) => way !== undefined)
    .map(([row, way]) => `    --${row.flag}) ${way} ;;\n`);
  return `# Completion of ${COMMAND} for bash.

_taskcluster_proxy() {
  local current=\${COMP_WORDS[COMP_CWORD]} flag= given=' ' list= word index IFS=$' \\t\\n'
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    # bash takes --flag=value apart.
    [[ $word == = ]] && continue
    if [[ -n $flag ]]; then
      flag=
      continue
    fi
    case $word in
${read.join('')}      --*=* | -[!-]?*) ;;
      # Options end here.
      *) return ;;
    esac
  done
  [[ $current == = ]] && current=
  case $flag in
    '')
      for word in ${flags.map(({ flag }) => `--${flag}`).join(' ')}; do
        [[ $given == *" $word "* ]] || list+="$word "
      done
      COMPREPLY=(${words(['$list'])})
      ;;
${values.join('')}  esac
}

complete -F _taskcluster_proxy ${COMMAND}
`;
}

function words(choices) {
  return `$(compgen -W "${choices.join(' ')}" -- "$current")`;
}

function zsh() {
  const ways = { files: '_files', users: '_users' };
  const specs = flags.flatMap((row) => {
    const names = spellings(row);
    const way = row.choices ? `(${row.choices.join(' ')})` : (ways[COMPLETED[row.value]] ?? ' ');
    const value = takesValue(row) ? `:${row.value}:${way}` : '';
    const before = row.many === undefined ? `(${names.join(' ')})` : '*';
    const help = row.help.replace(/[[\]:\\]/g, '\\$&');
    // A value may follow in the same word: -p8080, --port=8080.
    const joined = (name) =>
      takesValue(row) ? `${name}${name.startsWith('--') ? '=' : '+'}` : name;
    return names.map((name) => `${before}${joined(name)}[${help}]${value}`);
  });
  return `#compdef ${COMMAND}
# Completion of ${COMMAND} for zsh. Options end at the first scope.

_arguments -S -A '-*' \\
${specs.map((spec) => `  ${quoted(spec)}`).join(' \\\n')}
`;
}

function fish() {
  const valued = flags.filter(takesValue).flatMap(spellings).join(' ');
  const ways = { files: ' -r -F', users: " -x -a '(__fish_complete_users)'" };
  const lines = flags.map((row) => {
    const short = row.short === undefined ? '' : ` -s ${row.short}`;
    const value = row.choices
      ? ` -x -a '${row.choices.join(' ')}'`
      : (ways[COMPLETED[row.value]] ?? (takesValue(row) ? ' -x' : ''));
    const once = row.many === undefined ? ` ${spellings(row).join(' ')}` : '';
    const when = `-n '__taskcluster_proxy_takes${once}'`;
    return `complete -c ${COMMAND} ${when}${short} -l ${row.flag}${value} -d ${quotedForFish(row.help)}\n`;
  });
  return `# Completion of ${COMMAND} for fish.

function __taskcluster_proxy_takes -d 'Whether no scope and none of these flags stands before the cursor'
    set -l flag
    for token in (commandline -opc)[2..]
        if test -n "$flag"
            contains -- $flag $argv; and return 1
            set flag
        else if contains -- $token ${valued}
            set flag $token
        else if test "$token" = --; or not string match -q -- '-*' "$token"; or contains -- $token $argv
            return 1
        end
    end
    true
end

complete -c ${COMMAND} -f
${lines.join('')}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function quotedForFish(text) {
  return `'${text.replace(/['\\]/g, '\\$&')}'`;
}

/** The manual page, in the macros of man(7). */
function manualPage() {
  const { version } = manifest();
  const options = flags.map((row) => {
    const value = takesValue(row) ? ` \\fI${roff(row.value)}\\fR` : '';
    const names = spellings(row).map((name) => `\\fB${roff(name)}\\fR`);
    return `.TP\n${names.join(', ')}${value}\n${roff(describe(row))}\n`;
  });
  const variables = ROWS.flatMap(([, { by, flag, environment = [], help }]) =>
    environment.slice(0, 1).map((name) => {
      const text = by === 'environment' ? `${help}.` : `As --${flag}, which wins over it.`;
      return `.TP\n\\fB${roff(name)}\\fR\n${roff(text)}\n`;
    }),
  );
  const name = roff(COMMAND);
  const forms = FORMS.map((form) => `${roff(form).replace(name, `\\fB${name}\\fR`)}\n`);
  return `.TH TASKCLUSTER\\-PROXY 1 "" "${COMMAND} ${version}" "User Commands"
.SH NAME
${name} \\- signs a Taskcluster task's requests with its credentials
.SH SYNOPSIS
.nf
${forms.join('')}.fi
.SH DESCRIPTION
${roff(DESCRIPTION.replaceAll('\n', ' '))}
.SH OPTIONS
${options.join('')}.SH ENVIRONMENT
${variables.join('')}.SH EXIT STATUS
.TP
0
It was stopped by SIGTERM or SIGINT, or has shown what was asked for.
.TP
64
A flag, a variable or the credentials cannot be used. One sentence on stderr says why.
.TP
1
It cannot start for another reason, or the process that started it has ended.
.SH SEE ALSO
${roff(manifest().homepage)}
`;
}

/** Keeps hyphens from being set as other characters, and a line from being read as a request. */
function roff(text) {
  const escaped = text.replaceAll('\\', '\\e').replaceAll('-', '\\-');
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}
