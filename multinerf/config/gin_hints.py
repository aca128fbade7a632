"""Turns the parser's complaints into one line that says what to write."""

import re

# What people write for what Python, and so gin, spells differently.
_SPELLING = {
  'true': 'True',
  'false': 'False',
  'none': 'None',
  'null': 'None',
  'inf': '1e999',
  'infinity': '1e999',
}


def syntax_hint(message: str, line: str) -> str:
  """Returns advice for a syntax error.

  Args:
    message: Of the parser or of Python's tokenizer.
    line: The line it complains about.
  """
  token = re.search(r"Failed to parse token '-?(\w*)", message)
  value = line.split('=', 1)[-1].split('#')[0].strip()
  if token and token[1].lower() in _SPELLING:
    return f'write {_SPELLING[token[1].lower()]} instead of {token[1]}'
  if 'multi-line' in message or 'EOF' in message:
    return 'a bracket or a quote is not closed'
  if 'unterminated string' in message:  # Python 3.12 and later
    return 'a quote is not closed'
  if (token or 'Unable to parse value' in message) and '=' in line and value:
    if value[0] in '\'"':
      return 'a quote is not closed'
    return f"strings need quotes, as in '{value}', and functions an @"
  if 'Unable to parse value' in message:
    return 'the value is missing'
  if message.startswith('Expected newline'):
    return 'there is something after the value'
  if "expected ':' or '='" in message or 'Unexpected token' in message:
    return 'expected Name.option = value'
  return message.split('\n')[0]
