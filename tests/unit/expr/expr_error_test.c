/* What a wrong expression is told, and where. */
#include "expr_fixture.h"

static int set_up(void **state) {
    static fixture f;
    tw_error err;
    const char *names[] = {"price", "name", "day", "flag", "tags", "vec"};
    const type *types[] = {type_of(TYPE_INT64),  type_of(TYPE_STRING), type_of(TYPE_DATE),
                           type_of(TYPE_BOOL), type_list(type_of(TYPE_STRING)), type_vector(4)};
    must(schema_new(names, types, 6, &f.schema, &err), &err);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    schema_unref(((fixture *)*state)->schema);
    return 0;
}

static void error_of(void **state, const char *text, char *to, size_t capacity) {
    tw_error err = {0};
    expr *e = NULL;
    tw_status status = expr_compile(text, ((fixture *)*state)->schema, &e, &err);
    if (status == TW_OK) {
        snprintf(to, capacity, "no error");
        expr_free(e);
        return;
    }
    assert_int_equal(status, TW_ERR_JOB);
    snprintf(to, capacity, "%d: %s", (int)err.column, err.message);
    assert_int_equal(expr_compile(text, ((fixture *)*state)->schema, &e, NULL), TW_ERR_JOB);
}

static void messages(void **state) {
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"pric > 1", "1: unknown column 'pric'; did you mean 'price'?"},
        {"1 + `Nme`", "5: unknown column 'Nme'; did you mean 'name'?"},
        {"zzzzzz", "1: unknown column 'zzzzzz'"},
        {"lowr(name)", "1: unknown function 'lowr'; did you mean 'lower'?"},
        {"sum(price)", "1: 'sum' is an aggregate, known only to 'group'"},
        {"qqqqqqqq(1)", "1: unknown function 'qqqqqqqq'"},
        {"lower()", "1: 'lower' takes exactly 1 argument, not 0; write lower(text)"},
        {"substr(name)", "1: 'substr' takes at least 2 arguments, not 1; write substr(text, from, length)"},
        {"substr(name, 1, 2, 3)", "1: 'substr' takes at most 3 arguments, not 4; write substr(text, from, length)"},
        {"price + name", "7: operator '+' does not take int64 and string; cast one of them, as in int64(x)"},
        {"name + name", "6: operator '+' does not take string and string; use concat(a, b)"},
        {"name == 1", "6: operator '==' does not take string and int64; cast one of them, as in int64(x)"},
        {"flag + 1", "6: operator '+' does not take bool and int64"},
        {"flag > 1", "6: operator '>' does not take bool and int64"},
        {"day + day", "5: operator '+' does not take date and date"},
        {"day * 2", "5: operator '*' does not take date and int64"},
        {"day + 1.5", "5: operator '+' does not take date and float64"},
        {"2 - day", "3: operator '-' does not take int64 and date"},
        {"day == 'soon'", "8: 'soon' is no date; write it as 2026-01-31"},
        {"day == 3", "5: operator '==' does not take date and int64"},
        {"tags == tags", "6: operator '==' does not take list<string> and list<string>"},
        {"vec + 1", "5: operator '+' does not take vector<float32, 4> and int64"},
        {"-name", "1: operator '-' does not take string"},
        {"not price", "1: 'not' does not take int64, only bool"},
        {"flag and price", "6: 'and' does not take int64, only bool"},
        {"price or flag", "7: 'or' does not take int64, only bool"},
        {"if(price, 1, 2)", "1: the condition of 'if' must be bool, not int64"},
        {"if(flag, 1, 'a')", "1: 'if' cannot put string and int64 together; cast one of them"},
        {"coalesce(price, name)", "1: 'coalesce' cannot put int64 and string together; cast one of them"},
        {"coalesce(tags, tags)", "1: 'coalesce' does not take list<string>"},
        {"lower(price)", "7: 'lower' does not take int64 here, only string; lower(text)"},
        {"substr(name, 'a')", "14: 'substr' does not take string here, only an integer; substr(text, from, length)"},
        {"sqrt(name)", "6: 'sqrt' does not take string here, only a number; sqrt(number)"},
        {"year(price)", "6: 'year' does not take int64 here, only date or timestamp; year(time)"},
        {"price like 'a'", "7: operator 'like' does not take int64 and string"},
        {"matches(name, name)", "15: the pattern of 'matches' must be a literal text"},
        {"matches(name, '(')", "15: this regular expression is wrong at its character 2: missing closing parenthesis"},
        {"float64(day)", "1: there is no cast from date to float64"},
        {"string(tags)", "1: there is no cast from list<string> to string"},
        {"hash(vec)", "6: 'hash' does not take vector<float32, 4> here, only a plain value; hash(a, b, ...)"},
        {"", "1: the expression is empty"},
        {"   ", "1: the expression is empty"},
        {"1 +", "4: the expression ends where a value should be"},
        {"1 2", "3: unexpected '2' where an operator or the end should be"},
        {"(1", "1: this '(' is never closed"},
        {"lower(name", "6: this '(' is never closed"},
        {"1)", "2: unexpected ')' where an operator or the end should be"},
        {"lower(name name)", "12: unexpected 'name' where ',' or ')' should be"},
        {"'abc", "1: this text has no closing quote ' (a quote inside is '')"},
        {"1 + 'abc''", "5: this text has no closing quote ' (a quote inside is '')"},
        {"`abc", "1: this column name has no closing backtick"},
        {"price = 1", "7: unexpected '='; write '==' to compare"},
        {"price <> 1", "7: unexpected '<>'; write '!='"},
        {"flag && flag", "6: unexpected '&&'; write 'and'"},
        {"flag || flag", "6: unexpected '||'; write 'or', or concat(a, b) to join texts"},
        {"!flag", "1: unexpected '!'; write 'not'"},
        {"price ^ 2", "7: unexpected '^'; write pow(x, y)"},
        {"\"name\"", "1: unexpected '\"'; write text in single quotes, 'text', and odd column names in backticks"},
        {"flag AND flag", "6: unexpected 'AND'; write 'and'"},
        {"price # 1", "7: unexpected '#'"},
        {"price \x01 1", "7: unexpected character with code 1"},
        {"1 < price < 3", "11: comparisons do not chain; write 'a < b and b < c', or put parentheses"},
        {"1 + not flag", "5: put parentheses around 'not ...' here"},
        {"price in 3", "10: unexpected '3' where '(' after 'in' should be"},
        {"price in ()", "10: the list after 'in' is empty"},
        {"price is 3", "10: unexpected '3' where 'null' should be"},
        {"price not 3", "11: unexpected '3' where 'in' or 'like' should be"},
        {"9223372036854775808", "1: this number does not fit int64; write it with a point to get a float"},
        {"-9223372036854775809", "2: this number does not fit int64; write it with a point to get a float"},
        {"99999999999999999999999", "1: this number does not fit int64; write it with a point to get a float"},
        {"1e999", "1: this number does not fit float64"},
        {"12abc", "3: '12a' is no number"},
        {"1.2.3", "4: '1.2.' is no number"},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[2048];
        error_of(state, cases[i].text, got, sizeof got);
        if (strcmp(got, cases[i].expected) == 0) continue;
        print_error("%s\n  says     %s\n  expected %s\n", cases[i].text, got, cases[i].expected);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

/* `n` times `part` between two ends. */
static char *repeated(const char *before, const char *part, size_t n, const char *after) {
    size_t size = strlen(part);
    char *text = malloc(strlen(before) + n * size + strlen(after) + 1), *to = text;
    assert_non_null(text);
    to += sprintf(to, "%s", before);
    for (size_t i = 0; i < n; i++, to += size) memcpy(to, part, size);
    strcpy(to, after);
    return text;
}

static void check_limit(void **state, char *text, const char *expected) {
    char got[2048];
    error_of(state, text, got, sizeof got);
    if (!strstr(got, expected)) fail_msg("%.60s... says %s, expected %s", text, got, expected);
    free(text);
}

static void limits(void **state) {
    char *closing = repeated("", ")", 100, "");
    char *nested = repeated("", "(", 100, "1");
    char *both = malloc(strlen(nested) + strlen(closing) + 1);
    strcat(strcpy(both, nested), closing);
    check_limit(state, both, "no error");
    free(nested);
    free(closing);
    check_limit(state, repeated("", "(", 50000, "1"), "nested more than 200 deep");
    check_limit(state, repeated("", "- ", 30000, "price"), "nested more than 200 deep");
    check_limit(state, repeated("", "not ", 16000, "flag"), "nested more than 200 deep");
    check_limit(state, repeated("", "lower(", 10000, "name"), "nested more than 200 deep");
    check_limit(state, repeated("price", " + price", 900, ""), "no error");
    check_limit(state, repeated("price", " + price", 2000, ""), "more than 1000 operators deep");
    check_limit(state, repeated("price == 1", " or price == 2", 2000, ""), "no error");
    check_limit(state, repeated("flag", " and flag", 6000, ""), "no error");
    check_limit(state, repeated("flag", " or flag", 8000, ""), "no error");
    check_limit(state, repeated("price in (1", ",2", 30000, ")"), "more than 10000 parts");
    check_limit(state, repeated("price in (1", ",23", 9000, ")"), "no error");
    check_limit(state, repeated("concat(name", ",name", 9000, ")"), "no error");
    check_limit(state, repeated("'", "x", 70000, "'"), "at most 65536 bytes");
    check_limit(state, repeated("'", "x", 60000, "'"), "no error");
    check_limit(state, repeated("''", "+''", 20000, ""), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages), cmocka_unit_test(limits)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
