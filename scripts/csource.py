# SPDX-License-Identifier: MIT
"""What the source checks share: finding files, and reading C without its comments and literals."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def files(*folders, suffixes=('.c', '.h')):
    """Paths relative to the root of the tree, sorted; build output is left out."""
    found = []
    for folder in folders:
        for base, dirs, names in os.walk(os.path.join(ROOT, folder)):
            dirs[:] = [d for d in dirs if d not in ('__pycache__', '.git')
                       and os.path.join(base, d) != os.path.join(ROOT, 'build')]
            found += [os.path.relpath(os.path.join(base, name), ROOT) for name in names
                      if name != '.git' and (suffixes is None or name.endswith(suffixes))]
    return sorted(set(found))


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8', errors='replace') as file:
        return file.read()


def without_comments(text, keep_literals=False):
    """The text with comments (and what stands between quotes) blanked; line numbers stay."""
    def blank(match):
        token = match.group(0)
        if token[0] in '"\'':
            return token if keep_literals else token[0] + token[0]
        return ' ' + '\n' * token.count('\n')
    return _TOKEN.sub(blank, text)


def includes(path):
    """(line number, '<' or '"', name) of each #include."""
    text = without_comments(read(path), keep_literals=True)
    for number, line in enumerate(text.split('\n'), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1), match.group(2)


def finish(what, findings, count):
    """Prints the findings and ends the program: 0 when there are none."""
    for finding in findings:
        print(finding)
    print(f'{what}: {count} files, {len(findings)} findings')
    sys.exit(1 if findings else 0)
