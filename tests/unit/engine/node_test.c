#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "engine/node.h"

static const char *get_variable(void *context, const char *name) {
    if (strcmp(name, "WORD") == 0) return "hello";
    if (strcmp(name, "EMPTY") == 0) return "";
    if (strcmp(name, "MAP") == 0) return "{a: [1], b: *x}\n- c";
    if (strcmp(name, "NULL_WORD") == 0) return "null";
    if (strcmp(name, "BIG") == 0) return context;
    return NULL;
}
static struct variables variables = {get_variable, NULL};

/* A document and all its errors as one text, "LINE:COLUMN: message\n" each. */
typedef struct parsed {
    document *d;
    error_list errors;
    tw_status status;
    struct text messages;
} parsed;

static void collect(parsed *p) {
    text_truncate(&p->messages, 0);
    error_list_sort(&p->errors);
    for (size_t i = 0; i < p->errors.n; i++)
        text_printf(&p->messages, "%u:%u: %s\n", p->errors.items[i].line, p->errors.items[i].column,
                    p->errors.items[i].message);
}

static parsed parse_bytes(const char *source, size_t length) {
    parsed p = {0};
    char *exact = malloc(length ? length : 1); /* so that a read past the end is seen */
    memcpy(exact, source, length);
    p.status = document_parse(exact, length, "job.yaml", &variables, &p.errors, &p.d);
    free(exact);
    collect(&p);
    return p;
}

static parsed parse(const char *source) { return parse_bytes(source, strlen(source)); }

static void done(parsed *p) {
    document_free(p->d);
    error_list_free(&p->errors);
    text_free(&p->messages);
}

static void write_node(const node *n, struct text *out) {
    switch (n->kind) {
    case NODE_NULL: text_append_string(out, "null"); break;
    case NODE_SCALAR: text_printf(out, n->quoted ? "'%s'" : "%s", n->text); break;
    case NODE_LIST:
        text_append_char(out, '[');
        for (uint32_t i = 0; i < n->n; i++) {
            if (i) text_append_char(out, ',');
            write_node(n->items[i], out);
        }
        text_append_char(out, ']');
        break;
    case NODE_MAP:
        text_append_char(out, '{');
        for (uint32_t i = 0; i < n->n; i++) {
            text_printf(out, "%s%s:", i ? "," : "", n->entries[i].key);
            write_node(n->entries[i].value, out);
        }
        text_append_char(out, '}');
    }
}

static void assert_tree(const document *d, const char *expected) {
    struct text got = {0};
    write_node(document_root(d), &got);
    assert_string_equal(text_string(&got), expected);
    text_free(&got);
}

/* The text gives this tree and these errors. */
static void check(const char *source, const char *tree, const char *messages) {
    parsed p = parse(source);
    assert_string_equal(text_string(&p.messages), messages);
    assert_int_equal(p.status, tree ? TW_OK : TW_ERR_JOB);
    if (tree) assert_tree(p.d, tree);
    else assert_null(p.d);
    done(&p);
}

static void kinds(void **state) {
    check("", "null", "");
    check("# only a remark\n", "null", "");
    check("a: 1\nb: [x, 'y', \"z\"]\nc: {d: }\n", "{a:1,b:[x,'y','z'],c:{d:null}}", "");
    check("[~, null, Null, NULL, 'null', \"\", nul]", "[null,null,null,null,'null','',nul]", "");
    check("on: yes\ny: no\ntrue: off\n1: 0x1f\n", "{on:yes,y:no,true:off,1:0x1f}", "");
    check("a: |\n  two\n  lines\nb: >\n  one\n  line\n", "{a:'two\nlines\n',b:'one line\n'}", "");
    check("- !!str null\n- !!int 5\n- ! 7\n", "['null',5,'7']", "");
    check("{\"a\":1,\"b\":[true,null,{\"c\":\"d\\/\\u00e9\\n\"}]}", "{a:1,b:[true,null,{c:'d/\xc3\xa9\n'}]}", "");
    check("{\n\t\"tabs\":\t[1,\n\t2]\n}\n", "{tabs:[1,2]}", "");
    check(" {\"p\": \"\\uD83D\\uDE00!\", \"q\": \"\\\\ud83d\\\\ude00\"}", "{p:'\xf0\x9f\x98\x80!',q:'\\ud83d\\ude00'}", "");
    check("a: '\\ud83d\\ude00'", "{a:'\\ud83d\\ude00'}", "");
    check("\xef\xbb\xbf" "a: 1", "{a:1}", "");
}

static void assert_place(struct place at, uint32_t line, uint32_t column) {
    assert_int_equal(at.line, line);
    assert_int_equal(at.column, column);
}

static void places(void **state) {
    parsed p = parse("\xef\xbb\xbfname: w\xc3\xb6rd\r\nlist:\r\n  - {\xc3\xa9: 'x', z: \"a\\tb\"}\r\n  - &k deep\r\n");
    const node *root = document_root(p.d);
    assert_string_equal(root->at.file, "job.yaml");
    assert_place(root->at, 1, 1);
    assert_place(node_entry_of(root, "name")->at, 1, 1);
    assert_place(node_get(root, "name")->at, 1, 7);
    assert_place(node_entry_of(root, "list")->at, 2, 1);
    const node *list = node_get(root, "list");
    assert_place(list->at, 3, 3);
    const node *map = list->items[0];
    assert_place(map->at, 3, 5);
    assert_place(map->entries[0].at, 3, 6);
    assert_place(map->entries[0].value->at, 3, 10);
    assert_place(map->entries[1].at, 3, 15);
    assert_place(map->entries[1].value->at, 3, 18);
    assert_place(list->items[1]->at, 4, 5);
    /* within a text: after the quote; not where escapes shift it */
    assert_place(node_place_within(map->entries[0].value, 1), 3, 11);
    assert_place(node_place_within(node_get(root, "name"), 3), 1, 9);
    assert_place(node_place_within(map->entries[1].value, 2), 3, 18);
    assert_place(node_place_within(list->items[1], 2), 4, 5);
    assert_place(node_place_within(map->entries[0].value, 99), 3, 10);
    done(&p);
}

static void syntax_errors(void **state) {
    check("a: [1", NULL, "1:6: YAML: did not find expected ',' or ']' while parsing a flow sequence\n");
    check("a:\n  - 1\n b: 2\n", NULL,
          "3:2: YAML: did not find expected key while parsing a block mapping that starts on line 1\n");
    check("a:\n\t- 1\n", NULL,
          "2:1: YAML: found character that cannot start any token while scanning for the next token "
          "(blanks indent YAML, tabs do not)\n");
    check("a: *", NULL,
          "1:5: YAML: did not find expected alphabetic or numeric character while scanning an alias (a "
          "value that starts with * needs quotes)\n");
    check("a: 1\nb: \xff", NULL, "2:4: YAML: invalid leading UTF-8 octet\n");
    check("\xc3\xa9: \"\x01\"", NULL, "1:6: YAML: control characters are not allowed\n");
    check("a: 1\n---\nb: 2\n", NULL, "2:1: a job is one YAML document, not several\n");
    parsed p = parse_bytes("a: 1\0", 5);
    assert_int_equal(p.status, TW_ERR_JOB);
    done(&p);
}

static void repeated_keys(void **state) {
    check("a: 1\nb: {c: 1, 'c': 2}\na: 3\n", "{a:1,b:{c:1}}",
          "2:11: the key 'c' is here twice (first on line 2)\n"
          "3:1: the key 'a' is here twice (first on line 1)\n");
    check("{a: 1, a: 2, a: 3}", "{a:1}",
          "1:8: the key 'a' is here twice (first on line 1)\n"
          "1:14: the key 'a' is here twice (first on line 1)\n");
    check("? [x]\n: 1\nb: 2\n", "{b:2}", "1:3: a key must be a name, not a list\n");
    check("a: \"x\\0y\"", "{a:'x'}", "1:4: a text can't hold the character 0\n");
    check("a: !thing 1\nb: !!binary eA==\n", "{a:1,b:eA==}",
          "1:4: the tag '!thing' means nothing here\n"
          "2:4: the tag 'tag:yaml.org,2002:binary' means nothing here\n");
}

static void aliases(void **state) {
    check("a: &x {k: [1]}\nb: *x\nc: [*x]\n", "{a:{k:[1]},b:{k:[1]},c:[{k:[1]}]}", "");
    check("- &x 1\n- &x 2\n- *x\n", "[1,2,2]", "");
    check("&k key: 1\nb: *k\n*k : 2\n", "{key:1,b:key}", "3:1: the key 'key' is here twice (first on line 1)\n");
    check("a: &x [*x]\nb: *nope\n", "{a:[null],b:null}",
          "1:8: the alias *x stands within what it names\n2:4: there is no anchor &nope before this alias\n");
    parsed p = parse("a: &x {k: 1}\nb: *x\n");
    assert_ptr_equal(document_root(p.d)->entries[0].value, document_root(p.d)->entries[1].value);
    assert_int_equal(document_root(p.d)->total, 5);
    done(&p);
}

static void merge_keys(void **state) {
    check("d: &d {x: 1, y: 2}\nr: {a: 0, <<: *d, y: 3}\n", "{d:{x:1,y:2},r:{a:0,x:1,y:3}}", "");
    check("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nr: {<<: [*a, *b]}\n",
          "{a:{x:1,y:2},b:{y:3,z:4},r:{x:1,y:2,z:4}}", "");
    check("r: {<<: {x: 1, <<: {y: 2}}, '<<': 3}\n", "{r:{x:1,y:2,<<:3}}", "");
    check("{<<: 3}", "{}", "1:6: << takes a map or a list of maps\n");
    check("{<<: [{a: 1}, 2]}", "{a:1}", "1:6: << takes a map or a list of maps\n");
    check("{<<: {a: 1}, <<: {b: 1}}", "{a:1,b:1}", "1:14: the key '<<' is here twice (it takes a list: <<: [*a, *b])\n");
    check("{<<: *no, b: 1}", "{b:1}", "1:6: there is no anchor &no before this alias\n");
}

static void expansion(void **state) {
    check("a: ${WORD}\nb: 'x ${WORD} y'\nc: \"${EMPTY}\"\n", "{a:hello,b:'x hello y',c:''}", "");
    check("a: ${EMPTY:-d}\nb: ${NO:-d e}\nc: ${WORD:-d}\nd: ${NO:-}\n", "{a:d,b:d e,c:hello,d:}", "");
    check("a: ${NO:-${EMPTY:-<${WORD}>}}x\n", "{a:<hello>x}", "");
    check("[\"$${WORD}\", '$WORD', '$', '$$', '$$$${A}', '{}', '}', '${NO:-$${}']",
          "['${WORD}','$WORD','$','$$','$$${A}','{}','}','${']", "");
}

static void expansion_keeps_structure(void **state) {
    parsed place = parse("a: ${WORD}");
    assert_place(node_place_within(node_get(document_root(place.d), "a"), 2), 1, 4);
    done(&place);
    check("a: ${MAP}\n", "{a:{a: [1], b: *x}\n- c}", "");
    parsed p = parse("a: ${MAP}\nb: ${NULL_WORD}\nc: ${EMPTY}\n${WORD}: 1\n");
    const node *root = document_root(p.d);
    assert_int_equal(node_get(root, "a")->kind, NODE_SCALAR);
    assert_int_equal(node_get(root, "b")->kind, NODE_SCALAR);
    assert_int_equal(node_get(root, "c")->kind, NODE_SCALAR);
    assert_non_null(node_get(root, "${WORD}"));
    done(&p);
}

static void expansion_errors(void **state) {
    check("a: ${NO}\nb:\n  - x${EMPTY:?say what}\n  - ${NO:?}\n", "{a:${NO},b:[x${EMPTY:?say what},${NO:?}]}",
          "1:4: the environment variable NO is not set, and ${NO} gives no default\n"
          "3:5: EMPTY: say what\n"
          "4:5: the environment variable NO is not set, and ${NO} gives no default\n");
    check("['${', '${}', '${a b}', '${1}', '${WORD:x}', '${WORD-x}']",
          "['${','${}','${a b}','${1}','${WORD:x}','${WORD-x}']",
          "1:2: '${' has no closing '}' (write '$${' for the text '${')\n"
          "1:8: a variable is written ${NAME}, ${NAME:-default} or ${NAME:?message} (write '$${' for the text '${')\n"
          "1:15: a variable is written ${NAME}, ${NAME:-default} or ${NAME:?message} (write '$${' for the text '${')\n"
          "1:25: a variable is written ${NAME}, ${NAME:-default} or ${NAME:?message} (write '$${' for the text '${')\n"
          "1:33: a variable is written ${NAME}, ${NAME:-default} or ${NAME:?message} (write '$${' for the text '${')\n"
          "1:46: a variable is written ${NAME}, ${NAME:-default} or ${NAME:?message} (write '$${' for the text '${')\n");
    parsed p = parse("a: ${NO}\nb: ${WORD}");
    assert_true(node_get(document_root(p.d), "a")->faulty);
    assert_false(node_get(document_root(p.d), "b")->faulty);
    char shown[64]; /* what comes from the environment may be secret: it is not shown */
    assert_string_equal(node_describe(node_get(document_root(p.d), "b"), shown), "'${WORD}'");
    done(&p);
}

static void bounds(void **state) {
    /* aliases of aliases */
    struct text t = {0};
    text_append_string(&t, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++)
        text_printf(&t, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    check(text_string(&t), NULL, "8:5: with its aliases it has more than 500000 values\n");
    text_truncate(&t, 0); /* depth, and depth through aliases */
    text_append_repeated(&t, '[', NODE_DEPTH_MAX + 1);
    check(text_string(&t), NULL, "1:101: nested more than 100 deep\n");
    text_truncate(&t, 0);
    for (int i = 0; i < 60; i++) text_append_string(&t, i ? "[" : "- &a [");
    text_append_repeated(&t, ']', 60);
    for (int i = 0; i < 60; i++) text_append_string(&t, i ? "[" : "\n- [");
    text_append_string(&t, "*a");
    text_append_repeated(&t, ']', 60);
    check(text_string(&t), NULL, "2:22: nested more than 100 deep\n");
    text_truncate(&t, 0);
    while (t.length <= NODE_TEXT_MAX) text_append_string(&t, "# a remark of some length that goes on\n");
    check(text_string(&t), NULL, "1:1: the job is larger than 16 MiB\n");
    text_truncate(&t, 0);
    for (int i = 0; i < 20; i++) text_append_string(&t, "%TAG !a! x\n");
    check(text_string(&t), NULL, "1:1: more than 16 lines start with %\n");
    text_truncate(&t, 0); /* a text that grows from what it names */
    char *big = calloc(1, (1 << 20) + 1);
    memset(big, 'b', 1 << 20);
    variables.context = big;
    text_append_string(&t, "- ${BIG}\n- \"");
    for (int i = 0; i < 70; i++) text_append_string(&t, "${BIG}");
    text_append_string(&t, "\"");
    parsed p = parse(text_string(&t));
    assert_string_equal(p.errors.items[0].message, "with its variables the job has more than 64 MiB of text");
    done(&p);
    text_truncate(&t, 0);
    for (int k = 0; k < 3; k++) {
        text_append_string(&t, k ? "\n- " : "- ");
        for (int i = 0; i < 30; i++) text_append_string(&t, "${BIG}");
    }
    p = parse(text_string(&t));
    assert_int_equal(p.errors.items[0].line, 3);
    assert_string_equal(p.errors.items[0].message, "with its variables the job has more than 64 MiB of text");
    done(&p);
    variables.context = NULL;
    free(big);
    text_free(&t);
}

static void set(parsed *p, const char *assignment, tw_status expected) {
    size_t known = p->errors.total;
    assert_int_equal(document_set(p->d, assignment, &variables, &p->errors), expected);
    assert_int_equal(p->errors.total > known, expected == TW_ERR_JOB);
}

static const char set_job[] = "name: x\nsteps:\n  - a: {k: 1}\n  - sort\n  - sort:\n  - limit: 10\nrun:\n";

static void set_values(void **state) {
    parsed p = parse(set_job);
    set(&p, "run.memory=1GiB", TW_OK);
    set(&p, "steps[1].sort.limit=10", TW_OK);
    set(&p, "steps[2].sort.limit=${NO:-11}", TW_OK);
    set(&p, "steps[0].a.k=[1, {b: 2}]", TW_OK);
    set(&p, "steps[0].a.k[1].b=", TW_OK);
    set(&p, "steps[3].limit='a=b'", TW_OK);
    set(&p, "new.\"odd.key[\".x=y: z", TW_OK);
    set(&p, "name=", TW_OK);
    assert_tree(p.d, "{name:null,steps:[{a:{k:[1,{b:null}]}},{sort:{limit:10}},{sort:{limit:11}},{limit:'a=b'}],"
                     "run:{memory:1GiB},new:{odd.key[:{x:{y:z}}}}");
    const node *memory = node_get(node_get(document_root(p.d), "run"), "memory");
    assert_string_equal(memory->at.file, "--set run.memory");
    assert_place(memory->at, 1, 12);
    assert_place(node_entry_of(node_get(document_root(p.d), "run"), "memory")->at, 1, 4);
    assert_place(node_entry_of(document_root(p.d), "name")->at, 1, 1);
    assert_int_equal(document_root(p.d)->total, 23);
    done(&p);
}

static void set_shared(void **state) {
    parsed p = parse("a: &a {x: 1}\nb: *a\n");
    set(&p, "b.x=2", TW_OK);
    assert_tree(p.d, "{a:{x:1},b:{x:2}}");
    done(&p);
    p = parse("");
    set(&p, "a.b=1", TW_OK);
    assert_tree(p.d, "{a:{b:1}}");
    done(&p);
}

static void set_errors(void **state) {
    static const struct { const char *assignment, *message; } cases[] = {
        {"name", "1:5: it is written as PATH=VALUE, and has no '='\n"},
        {"", "1:1: a name is missing here\n"},
        {"=1", "1:1: a name is missing here\n"},
        {"[0]=1", "1:1: a name is missing here\n"},
        {"a..b=1", "1:3: a name is missing here\n"},
        {"a.=1", "1:3: a name is missing here\n"},
        {"a]=1", "1:2: '.', '[' or '=' is missing here\n"},
        {"a.\"b=1", "1:3: the name's closing quote is missing\n"},
        {"steps[x]=1", "1:6: a list is indexed from 0 as in 'steps[1]'\n"},
        {"steps[]=1", "1:6: a list is indexed from 0 as in 'steps[1]'\n"},
        {"steps[1=1", "1:6: a list is indexed from 0 as in 'steps[1]'\n"},
        {"steps[-1]=1", "1:6: a list is indexed from 0 as in 'steps[1]'\n"},
        {"steps[4]=1", "1:6: steps has the entries 0 to 3, no 4\n"},
        {"steps[99999999999999999999]=1", "1:6: steps has the entries 0 to 3, no 999999\n"},
        {"steps.a=1", "1:6: steps is a list and has no entry 'a'\n"},
        {"name.a=1", "1:5: name is 'x' and has no entry 'a'\n"},
        {"name[0]=1", "1:5: name is 'x', not a list\n"},
        {"run[0]=1", "1:4: run is nothing, not a list\n"},
        {"none[0]=1", "1:5: none is nothing, not a list\n"},
        {"steps[1].limit=1", "1:9: steps[1] is 'sort' and has no entry 'limit'\n"},
        {"steps[3].limit.n=1", "1:15: steps[3].limit is '10' and has no entry 'n'\n"},
        {"a=[", "1:4: YAML: did not find expected node content while parsing a flow node\n"},
        {"a=${NO}", "1:3: the environment variable NO is not set, and ${NO} gives no default\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parsed p = parse(set_job);
        set(&p, cases[i].assignment, TW_ERR_JOB);
        collect(&p);
        assert_string_equal(text_string(&p.messages), cases[i].message);
        assert_tree(p.d, "{name:x,steps:[{a:{k:1}},sort,{sort:null},{limit:10}],run:null}");
        done(&p);
    }
    parsed p = parse("a: []");
    set(&p, "a[0]=1", TW_ERR_JOB);
    collect(&p);
    assert_string_equal(text_string(&p.messages), "1:2: a is an empty list\n");
    struct text path = {0};
    for (int i = 0; i < 120; i++) text_append_string(&path, i ? ".a" : "a");
    text_append_string(&path, "=1");
    set(&p, text_string(&path), TW_ERR_JOB);
    text_free(&path);
    done(&p);
}

static void many_errors(void **state) {
    struct text t = {0};
    for (int i = 0; i < 300; i++) text_printf(&t, "k: %d\n", i);
    parsed p = parse(text_string(&t));
    assert_int_equal(p.errors.n, ERROR_LIST_MAX);
    assert_int_equal(p.errors.total, 299);
    tw_error err;
    assert_int_equal(error_list_status(&p.errors, &err), TW_ERR_JOB);
    assert_string_equal(err.message, "the key 'k' is here twice (first on line 1) (and 298 more errors)");
    assert_string_equal(err.file, "job.yaml");
    assert_int_equal(err.line, 2);
    text_free(&t);
    done(&p);
    error_list l = {0};
    assert_int_equal(error_list_status(&l, &err), TW_OK);
    error_list_add(&l, (struct place){"f", 1, 2}, "a\nb\x1b[0m \xc3\xa9 \xc3 \xc2\x85 \xf0\x9f\x98\x80 \xff");
    assert_string_equal(l.items[0].message, "a?b?[0m \xc3\xa9 ? ?? \xf0\x9f\x98\x80 ?");
    error_list_free(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),         cmocka_unit_test(places),
        cmocka_unit_test(syntax_errors), cmocka_unit_test(repeated_keys),
        cmocka_unit_test(aliases),       cmocka_unit_test(merge_keys),
        cmocka_unit_test(expansion),     cmocka_unit_test(expansion_keeps_structure),
        cmocka_unit_test(expansion_errors), cmocka_unit_test(bounds),
        cmocka_unit_test(set_values),    cmocka_unit_test(set_shared),
        cmocka_unit_test(set_errors),    cmocka_unit_test(many_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
