"""Small templates, each for one feature that chat templates use. All see the same conversation, tools and variables."""

MESSAGES = [
    {"role": "system", "content": "  You are\thelpful.\n"},
    {"role": "user", "content": "Hi <there> & \"you\" 'all' – é漢🦀\\n"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 3, "ok": True, "x": None, "f": 1.5}},
            }
        ],
    },
    {"role": "tool", "name": "weather", "content": "sunny\r\nwarm"},
    {"role": "user", "content": [{"type": "text", "text": "and now?"}, {"type": "image"}]},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a \"city\"; it's here.\nTwo lines.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "which"},
                    "days": {"type": ["integer", "null"], "enum": [1, 2, 3], "default": 1},
                    "items": {"type": "array", "items": {"type": "number"}, "minItems": 0.5},
                },
                "required": ["city"],
            },
        },
    }
]
VARIABLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "numbers": [3, 1, 2, 2, 10],
    "floats": [0.1, 1.0, 100.0, 1e16, 1e-5, 1.5e300, 123456789.125, -0.0, 2.5, 1e22, 0.0001],
    "words": ["pear", "Apple", "fig"],
    "text": "  The quick  brown\tfox\n jumps </think> over <think>x</think>y  ",
    "empty": "",
    "nothing": None,
    "yes": True,
    "no": False,
    "nested": {"b": {"c": [1, {"d": "e"}]}, "a": 1, "items": "field", "keys": "k"},
    "big": 12345678901234567890,
    "negative": -7,
    "enable_thinking": False,
}

SNIPPETS = r"""
{{ messages[0].content }}|{{ messages[0]['content'] }}|{{ messages[-1]['role'] }}
{{ messages[1:]|length }}|{{ messages[:2]|map(attribute='role')|join(',') }}|{{ messages[::-1][0].role }}
{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ text|trim }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'abcba'.rstrip('ab') }}
{{ text.split('</think>')[-1] }}|{{ text.split('</think>')[0].split('<think>')[-1] }}|{{ text.split()|tojson }}|{{ text.split(None, 2)|tojson }}|{{ 'a,b,,c'.split(',')|tojson }}|{{ 'a,b,c'.split(',', 1)|tojson }}
{{ 'a,b,c'.rsplit(',', 1)|tojson }}|{{ ' a b c '.rsplit(None, 1)|tojson }}|{{ 'a,b,c'.rsplit(',')|tojson }}|{{ 'abc'.split('x')|tojson }}|{{ ''.split()|tojson }}|{{ ''.split(',')|tojson }}
{{ ' a b '.split(' ')|tojson }}|{{ 'a  b'.split(maxsplit=1)|tojson }}|{{ 'a-b-c'.split(sep='-', maxsplit=1)|tojson }}|{{ ' x y z  '.split(None, 1)|tojson }}|{{ 'x'.split(None, 0)|tojson }}|{{ '  x y '.split(None, 0)|tojson }}
{{ 'hello'.startswith('he') }}|{{ 'hello'.endswith('lo') }}|{{ 'hello'.startswith(('x', 'h')) }}|{{ 'hello'.find('l') }}|{{ 'hello'.rfind('l') }}|{{ 'hello'.find('z') }}|{{ 'hello'.count('l') }}|{{ 'hello'.index('l') }}
{{ 'hello world'.title() }}|{{ 'hello World'.capitalize() }}|{{ 'Hello'.upper() }}|{{ 'Hello'.lower() }}|{{ 'Hello'.swapcase() }}|{{ "they're bill's".title() }}|{{ 'éa'.capitalize() }}|{{ 'straße'.upper() }}
{{ 'Hello'|upper }}|{{ 'Hello'|lower }}|{{ 'hello wORLD'|title }}|{{ 'hello wORLD'|capitalize }}|{{ "they're x-ray"|title }}
{{ 'a.b.c'.replace('.', '-') }}|{{ 'a.b.c'.replace('.', '-', 1) }}|{{ 'a.b.c'|replace('.', '-') }}|{{ 'a.b.c'|replace('.', '-', 1) }}|{{ 'abc'.replace('', '-') }}
{{ 'abc'.isdigit() }}|{{ '12'.isdigit() }}|{{ 'ab1'.isalnum() }}|{{ 'ab'.isalpha() }}|{{ ' '.isspace() }}|{{ 'AB'.isupper() }}|{{ 'ab'.islower() }}|{{ ''.isdigit() }}|{{ 'Ab'.istitle() }}
{{ 'a|b|c'.partition('|')|list|tojson }}|{{ 'a|b|c'.rpartition('|')|list|tojson }}|{{ 'abc'.partition('|') }}|{{ 'prefix-x'.removeprefix('prefix-') }}|{{ 'x.py'.removesuffix('.py') }}
{{ '7'.zfill(3) }}|{{ '-7'.zfill(4) }}|{{ 'x'.ljust(4) }}|{{ 'x'.rjust(4, '.') }}|{{ 'x'.center(4) }}|{{ 'xy'.center(5, '*') }}|
{{ 'a\nb\r\nc\rd'.splitlines()|tojson }}|{{ 'a\nb\n'.splitlines(true)|tojson }}|{{ 'a\u2028b'.splitlines()|tojson }}
{{ '-'.join(['a', 'b']) }}|{{ ','.join(words) }}|{{ words|join }}|{{ words|join(', ') }}|{{ tools|map(attribute='function.name')|join(' ') }}
{{ '{} and {}'.format('a', 1) }}|{{ '{0}{1}{0}'.format('a', 'b') }}|{{ '{x}'.format(x=3) }}|{{ '%s is %d'|format('a', 3) }}
{{ 'a' ~ 1 ~ true ~ none ~ 1.5 }}|{{ 'a' + 'b' }}|{{ 'ab' * 3 }}|{{ [1] + [2] }}|{{ [0] * 3 }}|{{ 'é'|length }}|{{ '🦀'|length }}
{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 / 2 }}|{{ 6 / 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 2 ** 10 }}|{{ 2 ** -1 }}|{{ 1 + 2 * 3 }}|{{ -negative }}|{{ 7.5 // 2 }}|{{ 1.0 + 1 }}
{{ floats }}|{{ floats|tojson }}
{% for f in floats %}{{ f }} {{ f|string }} {% endfor %}
{{ big }}|{{ big + 1 }}|{{ big|tojson }}|{{ 1e3 }}|{{ 1_000 }}|{{ 0x1f }}|{{ 0b101 }}|{{ 0o17 }}
{{ 1 == 1.0 }}|{{ true == 1 }}|{{ 'a' < 'b' }}|{{ 1 < 2 < 3 }}|{{ [1, 2] == [1, 2] }}|{{ {'a': 1} == {'a': 1} }}|{{ none == false }}|{{ '' == false }}
{{ 'a' in 'abc' }}|{{ 'x' not in 'abc' }}|{{ 'content' in messages[0] }}|{{ 'nope' in messages[0] }}|{{ 2 in numbers }}|{{ '<think>' in text }}|{{ 'x' in words }}
{{ true and 'x' }}|{{ '' or 'y' }}|{{ not '' }}|{{ none or 0 or 'z' }}|{{ 1 and 0 }}|{{ [] or {} or 'q' }}
{{ 'a' if yes else 'b' }}|{{ 'a' if no }}|{{ 'a' if undefined_thing is defined else 'b' }}|{{ ('x' if no else 'y') ~ 'z' }}
{{ undefined_thing }}|{{ undefined_thing is defined }}|{{ undefined_thing is undefined }}|{{ messages[0].nope is defined }}|{{ messages[0].nope }}|{{ not undefined_thing }}|{{ undefined_thing|default('d') }}|{{ undefined_thing|length }}
{{ undefined_thing.attribute }}
{{ undefined_thing['key'] }}
{{ messages[0].nope.deeper }}
{{ undefined_thing + 'x' }}
{{ undefined_thing ~ 'x' }}
{{ 'x' + undefined_thing }}
{{ undefined_thing() }}
{% for x in undefined_thing %}x{% endfor %}|{% if undefined_thing %}a{% else %}b{% endif %}|{{ undefined_thing == undefined_other }}|{{ undefined_thing == none }}
{{ undefined_thing|tojson }}
{{ messages[99] }}|{{ messages[99] is defined }}
{{ messages[99].role }}
{{ nothing }}|{{ nothing is none }}|{{ nothing|default('d') }}|{{ nothing|default('d', true) }}|{{ ''|default('d', true) }}|{{ 0|default('d', boolean=true) }}|{{ yes }}|{{ no }}
{{ nothing.x }}
{{ nothing + 'x' }}
{{ 'x' + 1 }}
{{ 1 + 'x' }}
{{ [1] + 'x' }}
{{ 'abc'[0] }}|{{ 'abc'[-1] }}|{{ 'abcdef'[1:4] }}|{{ 'abcdef'[::2] }}|{{ 'abcdef'[::-1] }}|{{ 'abc'[5:] }}|{{ 'abc'[10] is defined }}|{{ numbers[1:-1] }}|{{ numbers[-2:] }}|{{ 'é漢🦀'[1:] }}
{{ messages[0] is mapping }}|{{ messages is iterable }}|{{ messages is sequence }}|{{ 'x' is string }}|{{ 1 is number }}|{{ 1.5 is float }}|{{ 1 is integer }}|{{ true is boolean }}|{{ messages[0] is sequence }}|{{ 'x' is iterable }}|{{ 'x' is sequence }}|{{ none is none }}|{{ true is number }}|{{ true is integer }}
{{ yes is true }}|{{ no is false }}|{{ 1 is true }}|{{ 3 is odd }}|{{ 4 is even }}|{{ 6 is divisibleby 3 }}|{{ 1 is eq 1 }}|{{ 2 is gt 1 }}|{{ 'a' is in ['a'] }}|{{ messages[0].content is not none }}|{{ x is callable }}|{{ range is callable }}|{{ 'A' is upper }}|{{ 'a' is lower }}|{{ yes is sameas true }}|{{ 'loop' is filter }}
{{ messages|map(attribute='role')|list }}|{{ messages|selectattr('role', 'equalto', 'user')|list|length }}|{{ messages|rejectattr('role', 'eq', 'user')|map(attribute='role')|join }}|{{ messages|selectattr('tool_calls', 'defined')|list|length }}|{{ messages|selectattr('name')|list|length }}
{{ numbers|sort }}|{{ numbers|sort(reverse=true) }}|{{ words|sort }}|{{ words|sort(case_sensitive=true) }}|{{ numbers|unique|list }}|{{ numbers|sum }}|{{ numbers|max }}|{{ numbers|min }}|{{ numbers|reverse|list }}|{{ 'abc'|reverse }}|{{ numbers|first }}|{{ numbers|last }}|{{ [1, 2, 3]|select('odd')|list }}|{{ numbers|reject('gt', 2)|list }}
{{ numbers|batch(2)|list }}|{{ numbers|batch(2, 0)|list }}|{{ numbers|slice(2)|list }}|{{ messages|groupby('role')|map('first')|join(',') }}|{{ words|map('upper')|list }}|{{ words|map('length')|sum }}|{{ words|list|count }}
{{ nested|dictsort }}|{{ nested.items()|list }}|{{ nested|items|list }}|{{ nested.keys()|list }}|{{ nested.values()|list|length }}|{{ nested.get('a') }}|{{ nested.get('zz') }}|{{ nested.get('zz', 5) }}|{{ nested['items'] }}|{{ nested.b.c[1].d }}
{% for k, v in nested.items() %}{{ k }}={{ v }};{% endfor %}|{% for k in nested %}{{ k }},{% endfor %}|{% for k, v in nested|dictsort %}{{ k }}{% endfor %}
{{ nested }}|{{ messages[2].tool_calls }}|{{ words }}|{{ ('a', 1) }}|{{ ('a',) }}|{{ {'a': 'it\'s', 'b': "q\"q", 'c': 'both\'"', 'n': '\n\t\\'} }}|{{ [none, true, 1.0, 'é'] }}|{{ {} }}|{{ [] }}|{{ () }}
{{ messages[2]|tojson }}|{{ tools|tojson }}|{{ 'é漢🦀</s>&<>\'"'|tojson }}|{{ "a\nb\tc\\d\u0001\u007f/" |tojson }}|{{ none|tojson }}|{{ true|tojson }}|{{ [1, 2.0, 'x', none]|tojson }}|{{ {}|tojson }}|{{ []|tojson }}|{{ {1: 2, true: 3}|tojson }}|{{ ('a', 1)|tojson }}
{{ tools[0]|tojson(indent=4) }}|{{ {}|tojson(indent=2) }}|{{ [[], [1]]|tojson(indent=2) }}|{{ tools|tojson(indent=0) }}
{{ tools[0].function.parameters|tojson(separators=(',', ':')) }}|{{ nested|tojson(sort_keys=true) }}|{{ 'é🦀'|tojson(ensure_ascii=true) }}|{{ [1, 2]|tojson(indent=2, separators=(',', ': ')) }}|{{ [1]|tojson(indent='\t') }}
{{ messages|tojson(ensure_ascii=False, indent=None) }}
{{ range(3)|list }}|{{ range(1, 4)|list }}|{{ range(10, 0, -3)|list }}|{% for i in range(2) %}{{ i }}{% endfor %}|{{ range(0)|length }}
{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem.role if loop.previtem is defined else '-' }}{{ loop.nextitem.role if not loop.last else '-' }}{{ loop.cycle('a', 'b') }}{{ loop.depth }};{% endfor %}
{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}|{% for m in [] %}x{% else %}empty{% endfor %}
{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}{% if loop.index == 4 %}{% break %}{% endif %}{{ m.role }} {% endfor %}
{% for n in [[1, [2, []]], [3, []]] recursive %}{{ n[0] }}{% if n[1] %}({{ loop([n[1]]) }}){% endif %}{% endfor %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}|{% for i, (a, b) in [(0, (1, 2))] %}{{ i }}{{ a }}{{ b }}{% endfor %}|{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{% endfor %}{{ x }}|{% if yes %}{% set y = 5 %}{% endif %}{{ y }}
{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% if m.role == 'tool' %}{% set ns.found = true %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.found }}{{ ns.n }}
{% set ns = namespace(system_prompt='', last=messages|length - 1, list=[]) %}{% set ns.list = ns.list + ['a'] %}{% set ns.list = ns.list + ['b'] %}{{ ns.list|join }}{{ ns.last }}{{ ns.missing is defined }}
{% set block %}a {{ 1 + 1 }} b{% endset %}[{{ block }}]{{ block|length }}{{ block is string }}|{% set t | upper %}abc{% endset %}{{ t }}
{% macro hello(name, greeting='Hi', mark='!') %}{{ greeting }} {{ name }}{{ mark }}{% endmacro %}{{ hello('Bob') }}|{{ hello('Bob', mark='?') }}|{{ hello(greeting='Yo', name='X') }}|{{ hello() }}
{% macro f(a) %}{{ a }}{{ varargs|length }}{{ kwargs|length }}{% endmacro %}{{ f(1) }}
{% macro outer() %}<{{ caller() }}>{% endmacro %}{% call outer() %}inside{% endcall %}|{% macro each(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) each([1, 2]) %}[{{ x }}]{% endcall %}
{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n }}*{{ fact(n - 1) }}{% endif %}{% endmacro %}{{ fact(5) }}
{% macro m(x) -%}   {{ x }}   {%- endmacro %}[{{ m(1) }}][{{ m(2)|trim }}][{{ m('a')|length }}]
{% filter upper %}abc {{ 'def' }}{% endfilter %}|{% with a=1, b=2 %}{{ a + b }}{% endwith %}|{% with %}{% set q = 3 %}{{ q }}{% endwith %}{{ q }}
{% raw %}{{ not rendered }} {% x %}{% endraw %}|{# comment #}|{{ '{{' }}|{{ '%}' }}|{{ "}}" }}
{% if messages[0].role == 'system' and messages|length > 1 %}A{% elif no %}B{% else %}C{% endif %}
{%- if yes -%}   trimmed   {%- endif -%}|  {%- set z = 1 -%}  |  {{- 'x' -}}  |
{% generation %}gen {{ 1 }}{% endgeneration %}|{%- generation -%}  trimmed  {%- endgeneration -%}|{% generation %}{% set inner = 1 %}{% endgeneration %}{{ inner is defined }}
{{ raise_exception('Conversation roles must alternate') }}
{% if messages[0].role != 'user' %}{{ raise_exception('first message must be from user: ' + messages[0].role) }}{% endif %}
{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j') }}|{{ strftime_now('%-d %B, %y %p %I %%') }}
{{ 'x'|indent(2) }}|{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(2, first=false, blank=true) }}|{{ 'a\nb'|indent('> ') }}
{{ '3'|int + 1 }}|{{ 'x'|int }}|{{ '3.7'|float }}|{{ 3.7|int }}|{{ 3.14159|round(2) }}|{{ 2.5|round }}|{{ 3|round }}|{{ -3|abs }}|{{ 'x'|int(-1) }}|{{ 2.675|round(2, 'floor') }}|{{ '0x1f'|int(0, 16) }}
{{ 'a b c'|wordcount }}
{{ '<a&"b\'>'|e }}|{{ '<a>'|escape }}|{{ '<a>'|safe }}
{{ words|tojson|length }}|{{ 'abc'|list }}|{{ nested|list }}|{{ 'a-b'|replace('-', '+')|upper }}|{{ (1, 2)|list }}|{{ 5|string ~ 'x' }}|{{ none|string }}|{{ [1, 'a']|string }}
{{ dict(a=1, b='x') }}|{{ dict(a=1)['a'] }}|{{ [dict(x=1)]|tojson }}
{{ messages[1].content|length }}|{{ (messages|last).role }}|{{ messages[0]|length }}
{{ messages[3].content.replace('\r\n', ' ') }}|{{ 'tab\there' }}|{{ 'quote\'s' }}|{{ "uni\u00e9\x41" }}
{{ 'a' 'b' }}
{{ [1, 2, 3,] }}|{{ {'a': 1,} }}|{{ (1) }}|{{ [x for x in [1]] }}
{{ not yes or yes }}|{{ not (yes and no) }}|{{ yes and not no }}|{{ 1 if yes and not nothing else 2 }}|{{ 'a' is string and 'b' is string }}|{{ not 'a' in 'abc' }}|{{ 2 + 3 == 5 }}
{{ messages[0]['content'][:5] + '...' }}|{{ text[2:-2]|trim }}|{{ numbers[::2] }}|{{ numbers[1] + numbers[-1] }}
{{ (messages|selectattr('role', 'in', ['user', 'tool'])|list)|length }}|{{ messages|map(attribute='name', default='-')|join(',') }}|{{ messages|map('length')|list }}|{{ [[1, 2], [3]]|map('first')|list }}|{{ [[3, 1], [2]]|sum(start=[]) }}
{% set counts = {'a': 0} %}{% set _ = counts.update({'b': 1}) %}{{ counts }}
{% set l = [] %}{% set _ = l.append(1) %}{{ l }}
{{ ''.__class__ }}
{{ messages.__class__.__mro__ }}
{{ namespace.__init__ }}
{{ 1 if 0 }}{{ [] | first }}|{{ []|last }}|{{ []|max }}|{{ ''|first }}
{% set x %}{% for m in messages %}{{ m.role }}{% if not loop.last %}, {% endif %}{% endfor %}{% endset %}{{ x }}
{% block content %}block {{ 1 }}{% endblock %}
{{ 1 / 0 }}
{{ [1, 2]|join(1) }}|{{ 3|join }}
{{ unknown_function() }}
{{ 'x'|unknown_filter }}
{{ 'x' is unknown_test }}
{{ 'x'.unknown_method() }}
{{ messages[0].unknown_method() }}
{{ range(1000000)|length }}
{% for x in 5 %}{% endfor %}
{% unknown_tag %}
{{ unclosed
{% if yes %}unclosed
{{ 'a' if yes else }}
{% include 'x' %}
{% set content = messages[4].content %}{% if content is string %}{{ content }}{% else %}{% for part in content %}{% if part.type == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}<image>{% endif %}{% endfor %}{% endif %}
{% for tool_call in messages[2].tool_calls %}{% set call = tool_call.function if tool_call.function is defined else tool_call %}{{ '{"name": "' + call.name + '", "arguments": ' }}{{ call.arguments|tojson }}{{ '}' }}{% endfor %}
{% for tool in tools %}{% for name, spec in tool.function.parameters.properties.items() %}{{ name }}: {{ spec.type if spec.type is string else spec.type|join(' | ') }}{% if name not in tool.function.parameters.required %}?{% endif %}{% if spec.enum %} {{ spec.enum|join('/') }}{% endif %}{% if 'items' in spec %} of {{ spec['items'].type }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}{% endfor %}
{% set parameters = tools[0].function.parameters.properties %}{{ parameters['items'].type }}|{{ parameters.items()|list|length }}|{{ parameters.get('items').type }}|{{ parameters|items|list|length }}
{{ parameters_undefined.items() }}
{{ messages[0].content.strip().split('\t')|last }}|{{ (text.split('</think>')|last).lstrip('\n') }}|{{ text.strip('\n ').startswith('The') }}
{{ "%s"|format(messages[0].role) }}|{{ "%d%%"|format(5) }}|{{ "%s"|format(none) }}|{{ '%.3s|%5s|%-5s|'|format('abcdef', 'x', 'y') }}
{{ messages|length - 1 }}|{{ loop is defined }}|{{ (numbers|length) * 2 }}|{{ numbers|length * 2 }}|{{ -numbers|length }}|{{ 'a' ~ 'b'|upper }}|{{ 2 * 'ab'|length }}
{{ 5 | default(3) }}|{{ ('a' | default('b')) }}|{{ messages[0].name | default(messages[0].role) }}
{%+ if yes %}  keep{% endif %}|{%- for x in [1, 2] -%} {{ x }} {%- endfor %}
{{ 1|tojson }} {{ 'a'|tojson|safe }} {{ "</script>"|tojson }}
{{ text.split('\n')[0].rstrip() }}|{{ text.rstrip('y ') }}|{{ text.count('think') }}
{{ nested.b.c | tojson }} {{ nested['b']['c'][0] }} {{ nested.b['c'][-1]['d'] }}
{{ nested is mapping and nested.b is defined and nested.b.c is iterable and nested.b.c is not mapping }}
{{ namespace(a=1).a }}|{{ (messages | map(attribute='content') | first).strip() }}
{{ 'a\\nb' }}|{{ 'tab\\t' }}|{{ "dq \"x\"" }}
{{ [1,2,3] | map('string') | join('-') }}|{{ ['a', 'b'] | map('replace', 'a', 'z') | list }}|{{ [{'a': 1}, {'a': 2}] | sum(attribute='a') }}|{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | list }}
{{ [{'a': 2}, {'a': 1}] | min(attribute='a') }}|{{ ['b', 'A'] | min }}|{{ ['b', 'A', 'a'] | unique | list }}|{{ [3, 'a'] | join('') }}
{{ 'a,b' in 'a,b,c' }}|{{ [1] in [[1]] }}|{{ none in [none] }}|{{ 1.0 in [1] }}|{{ true in [1] }}
{{ (1, 2) == (1, 2) }}|{{ (1, 2) == [1, 2] }}|{{ (1, 2) + (3,) }}|{{ 'abc' > 'abd' }}|{{ [1, 2] < [1, 3] }}
{{ 10 | string | length }}|{{ 1.0 | string }}|{{ 1e100 }}|{{ 123456789012345680.0 }}|{{ 0.1 + 0.2 }}|{{ 1 / 3 }}|{{ 5 | float }}|{{ 'inf' | float }}
{{ messages[0].content == '  You are\thelpful.\n' }}|{{ messages[0]['role'] in ['system', 'developer'] }}|{{ messages[2]['tool_calls'] is defined and messages[2]['tool_calls'] is not none and messages[2]['tool_calls']|length > 0 }}
{{ {'b': 1, 'a': 2}|dictsort(by='value') }}|{{ {'b': 1, 'a': 2}|dictsort(reverse=true) }}|{{ {'B': 1, 'a': 2}|dictsort(case_sensitive=true) }}
{{ ['x', 'y']|tojson(indent=2)|indent(4) }}|{{ tools[0]|tojson(indent=2)|replace('\n', '\n  ') }}
{{ 'été' | upper }}|{{ 'ǆ' | title }}|{{ 'İ'.lower() | length }}|{{ 'ß'.capitalize() }}|{{ 'ŉ'.upper() }}
{{ ' \x1c\x1f x \x85\u2003' | trim | length }}|{{ ' \x1c\x1fx'.strip() }}|{{ '\u200bx\u200b'.strip() | length }}|{{ '\ufeffx'.strip() | length }}
{{ '%s-%s' % ('a', 'b') }}|{{ '%05.2f' % 3.14159 }}|{{ "%s" % messages[0].role }}|{{ "%d%%" % 5 }}|{{ "%s" % none }}|{{ '%.3s|%5s|%-5s|' % ('abcdef', 'x', 'y') }}|{{ '%x' % 255 }}
{{ ([1] + [2])[0] }}|{{ ([1] + [2])[-1] }}|{{ ([1] + [2])[:1] }}|{{ ([1] + [2])|length }}|{{ ([1] + [2])|tojson }}|{{ ([1] + [2]) is sequence }}|{{ ((1,) + (2,))[1] }}|{{ [1, 2] * 2 }}|{{ 2 * [0] }}|{{ 'ab' * 0 }}|{{ -1 * 'ab' }}|{{ (1, 2) * 2 }}
{{ numbers[5:1:-2] }}|{{ numbers[-100:100] }}|{{ numbers[3:1] }}|{{ numbers[::-2] }}|{{ 'abcdef'[-2::-1] }}|{{ 'abc'[1:1] }}|{{ (1, 2, 3)[1:] }}|{{ numbers[True:3] }}|{{ 'abcdef'[4:0:-1] }}
{% for name in ['x', 'y'] %}{% set spec = {'x': {'type': 'array'}, 'y': {'type': 'array', 'items': {'type': 'n'}}}[name] %}{% if spec['items'] %}has{% else %}none{% endif %}{% if spec['nothing'] %}has{% else %}none{% endif %}{{ 'items' in spec }}{{ spec['items'] is callable }} {% endfor %}
{{ {'a': 1}['items']()|list }}|{{ {'a': 1}['get']('a') }}|{{ 7 * 1.5 }}|{{ true + true }}|{{ 3 % -2 }}|{{ -3.5 % 2 }}|{{ 10000000000 * 10000000000 }}
{{ numbers[::0] }}
{{ 5 % 0 }}
{{ nothing ~ yes ~ 1.0 ~ [1, 'a'] ~ {'k': none} }}|{{ words ~ '' }}|{{ ('a',) ~ floats[9] }}
{% set ns = namespace(all=[]) %}{% for m in messages %}{% set ns.all = ns.all + [m.role] %}{% endfor %}{{ ns.all|join(',') }}{{ ns.all[-1] }}{{ ns.all == messages|map(attribute='role')|list }}
""".strip("\n").split("\n")

# What jinja2 can do and Lockgate refuses: each must be an error with a line, never another output.
REFUSED = r"""
{{ 'abcdefgh'|truncate(5) }}
{{ '<b>x</b>'|striptags }}
{{ 'x'|center(5) }}
{{ 'a b/ü'|urlencode }}
{{ messages|first|attr('role') }}
{{ cycler('a', 'b').next() }}
{{ joiner('|') }}
{{ 'x'.encode() }}
{{ '%r'|format('a') }}
{{ 'x'.expandtabs() }}
""".strip("\n").split("\n")
