/* The source and the sink `kafka` against librdkafka's mock cluster; against real brokers when
 * THALWEG_KAFKA_BROKERS names some (tests/job/test_kafka.py does). */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <time.h>

#include "engine/plan_internal.h"
#include "io/kafka.h"
#include "io/kafka_offsets.h"
#include "unit/io/c11_threads.h"
#include "unit/io/collect.h"

static rd_kafka_t *mock_handle;
static rd_kafka_mock_cluster_t *mock;
static const char *brokers;
static rd_kafka_t *producer;
static char run_mark[32]; /* makes names of topics and groups new on a broker that stays */

static void pause_ms(long ms) {
    struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

static void ignore_log(const rd_kafka_t *handle, int level, const char *facility, const char *words) {}

static rd_kafka_t *new_producer(void) {
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, ignore_log);
    rd_kafka_conf_set(conf, "topic.metadata.refresh.fast.interval.ms", "20", why, sizeof why); /* topics are new */
    if (brokers) rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why);
    return rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
}

static int start_brokers(void **state) {
    snprintf(run_mark, sizeof run_mark, "%ld-%d", (long)time(NULL), getpid());
    brokers = getenv("THALWEG_KAFKA_BROKERS");
    if (!brokers) {
        mock_handle = new_producer();
        mock = rd_kafka_mock_cluster_new(mock_handle, 1);
        brokers = rd_kafka_mock_cluster_bootstraps(mock);
    }
    producer = new_producer();
    return producer ? make_folder(state) : -1;
}

static int stop_brokers(void **state) {
    rd_kafka_destroy(producer);
    if (mock) rd_kafka_mock_cluster_destroy(mock);
    if (mock_handle) rd_kafka_destroy(mock_handle);
    return remove_folder(state);
}

/* ---- topics ---- */

static const char *named(const char *name) {
    static char all[4][80];
    static unsigned turn;
    char *out = all[turn++ % 4];
    snprintf(out, sizeof all[0], "%s-%s", name, run_mark);
    return out;
}

/* A new one. Asking for it makes it, and at once; the first message would have to wait a second. */
static const char *new_topic(const char *name) {
    const char *out = named(name);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, out, NULL);
    for (int i = 0; i < 100; i++) {
        const struct rd_kafka_metadata *known;
        if (rd_kafka_metadata(producer, 0, topic, &known, 1000) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        bool there = known->topic_cnt == 1 && known->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_metadata_destroy(known);
        if (there) break;
        pause_ms(10);
    }
    rd_kafka_topic_destroy(topic);
    return out;
}

static void produce_bytes(const char *topic, int partition, const void *key, const void *value, size_t size) {
    rd_kafka_resp_err_t code;
    do {
        code = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
                                 RD_KAFKA_V_KEY(key, key ? strlen(key) : 0), RD_KAFKA_V_END);
        if (code) rd_kafka_poll(producer, 50);
    } while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC);
    assert_int_equal(code, 0);
}
static void produce(const char *topic, const char *key, const char *value) {
    produce_bytes(topic, 0, key, value, value ? strlen(value) : 0);
}
static void produced(void) { assert_int_equal(rd_kafka_flush(producer, 10000), 0); }

/* ---- jobs ---- */

static error_list job_errors;
static job *at_hand;
static plan *planned;
static run *running;

/* Plans `text`, whose %B, %1, %2, %O are the brokers, two names and options. */
static tw_status plan_text(const char *text, const char *name, const char *other, tw_error *err) {
    static const source_descriptor *const sources[] = {&source_kafka, &source_generate, NULL};
    static const sink_descriptor *const sinks[] = {&collect_sink, &sink_kafka, NULL};
    static const step_descriptor *const steps[] = {NULL};
    const registry known = {steps, sources, sinks};
    struct text t = {0};
    for (const char *p = text; *p; p++) {
        /* The mock cluster knows no static members: they would keep their partitions until they time out. */
        const char *set = mock ? "group.instance.id: ''" : "session.timeout.ms: 20000";
        const char *value = *p != '%' ? NULL : p[1] == 'B' ? brokers : p[1] == 'O' ? set : p[1] == '1' ? name : other;
        if (!value) text_append_char(&t, *p);
        else text_append_string(&t, value), p++;
    }
    job_source from = {.text = t.bytes, .length = t.length, .file = "job"};
    job_errors = (error_list){0};
    forget_rows();
    memset(err, 0, sizeof *err);
    tw_status status = job_parse(&from, &job_errors, &at_hand);
    if (status == TW_OK) status = plan_build(at_hand, &known, &job_errors, &planned, err);
    if (job_errors.n) status = error_list_status(&job_errors, err);
    text_free(&t);
    return status;
}

static void must_plan(const char *text, const char *name, const char *other) {
    tw_error err;
    if (plan_text(text, name, other, &err) != TW_OK) fail_msg("%s: %s", text, err.message);
}

static void begin_run(const collect_options *o) {
    run_options settings = {.parallelism = o->parallelism, .memory_bytes = o->memory_bytes, .batch_rows = o->batch_rows,
                            .bad_policy = o->policy, .dead_letter = o->dead_letter};
    tw_error err = {0};
    if (run_start(planned, &settings, &running, &err) != TW_OK) fail_msg("%s", err.message);
}

static tw_status end_run(tw_error *err) {
    run_wait(running, -1);
    memset(err, 0, sizeof *err);
    tw_status status = run_result(running, err);
    run_get_figures(running, &collect_figures);
    run_free(running);
    running = NULL;
    return status;
}

static void forget_plan(void) {
    plan_free(planned);
    job_free(at_hand);
    error_list_free(&job_errors);
    planned = NULL;
    at_hand = NULL;
}

static size_t rows_so_far(void) {
    pthread_mutex_lock(&collected.lock);
    size_t n = collected.n;
    pthread_mutex_unlock(&collected.lock);
    return n;
}

static void await_rows(size_t n) {
    for (int i = 0; i < 1000 && rows_so_far() < n; i++) pause_ms(10);
    if (rows_so_far() < n) fail_msg("%zu rows of %zu came", rows_so_far(), n);
}

static void await_rows_in(size_t n) {
    run_progress p = {0};
    for (int i = 0; i < 1000 && p.rows_in < n; i++) {
        run_get_progress(running, &p);
        pause_ms(10);
    }
    assert_int_equal(p.rows_in, n);
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const collected_row *)a)->text, ((const collected_row *)b)->text);
}

/* Runs until `n` rows have come, then stops it; the rows in `rows_text`, in order of their text. */
static void run_rows(size_t n, const collect_options *o) {
    tw_error err;
    begin_run(o);
    await_rows(n);
    run_stop(running);
    if (end_run(&err) != TW_OK) fail_msg("%s", err.message);
    assert_int_equal(collected.n, n);
    qsort(collected.rows, collected.n, sizeof *collected.rows, by_text);
    forget_plan();
}

#define SOURCE "{source: {kafka: {brokers: '%B', topic: '%1', group: '%2', options: {%O}}}, sink: collect}"
#define SOURCE_AS(format) "{source: {kafka: {brokers: '%B', topic: '%1', group: '%2', options: {%O}, " format "}}, sink: collect}"
#define SOURCE_WITH(set) "{source: {kafka: {brokers: '%B', topic: '%1', group: '%2', options: {" set "}}}, sink: collect}"

/* ---- the source ---- */

static void messages_are_rows(void **state) {
    const char *topic = new_topic("rows");
    produce(topic, "k1", "a");
    produce(topic, NULL, "a value of more than twelve bytes");
    produce(topic, "a key that is longer than twelve", NULL);
    produce(topic, "", "");
    produced();
    must_plan(SOURCE, topic, named("rows"));
    run_rows(4, &collect_default);
    assert_string_equal(rows_text(), "a value of more than twelve bytes|~\na|k1\n|\n~|a key that is longer than twelve\n");
    assert_string_equal(text_string(&collected.header), "content binary,key binary");
    assert_int_equal(collect_figures.rows_in, 4);
}

/* Large values stay in librdkafka's buffers; each must live as long as a batch that shows it. */
static void large_messages_keep_their_bytes(void **state) {
    const char *topic = new_topic("large");
    char *value = malloc(300000);
    for (int i = 0; i < 20; i++) {
        memset(value, 'a' + i, 300000);
        produce_bytes(topic, 0, NULL, value, 30000 + 13000 * (size_t)i);
    }
    produced();
    must_plan(SOURCE, topic, named("large"));
    run_rows(20, &collect_default);
    for (int i = 0; i < 20; i++) {
        size_t size = 30000 + 13000 * (size_t)i;
        memset(value, 'a' + i, size);
        assert_int_equal(strlen(collected.rows[i].text), size + 2);
        assert_memory_equal(collected.rows[i].text, value, size);
    }
    free(value);
}

static void formats_are_decoded(void **state) {
    const char *topic = new_topic("json");
    produce(topic, NULL, "{\"a\": 1, \"b\": \"x\"}");
    produce(topic, "deleted", NULL);
    produce(topic, NULL, "{\"a\": 2}\n{\"b\": \"many\"}\n");
    produce(topic, NULL, "{\"a\": 4, \"b\": \"y\"}\n");
    produced();
    must_plan(SOURCE_AS("format: json, columns: {a: int64, b: string}"), topic, named("json"));
    run_rows(4, &collect_default);
    assert_string_equal(rows_text(), "1|x\n2|~\n4|y\n~|many\n");
    topic = new_topic("records");
    produce(topic, NULL, "abc");
    produce(topic, NULL, "defghi");
    produced();
    must_plan(SOURCE_AS("format: records, length: 3, columns: {x: [0, 1], y: [1, 2]}"), topic, named("records"));
    run_rows(3, &collect_default);
    assert_string_equal(rows_text(), "a|bc\nd|ef\ng|hi\n");
    topic = new_topic("csv");
    produce(topic, NULL, "1,\"a,b\"");
    produce(topic, NULL, "2,\"\"\r\n");
    produced();
    must_plan(SOURCE_AS("format: csv, columns: {n: int64, s: string}"), topic, named("csv"));
    run_rows(2, &collect_default);
    assert_string_equal(rows_text(), "1|a,b\n2|\n");
}

static void bad_records_have_their_offset(void **state) {
    const char *topic = new_topic("bad");
    tw_error err;
    for (int i = 0; i < 5; i++) produce(topic, NULL, i == 3 ? "{" : "{\"a\": 1}");
    produce(topic, NULL, "{\"a\": 1}\n{\"a\": x}\n");
    produced();
    must_plan(SOURCE_AS("format: json, columns: {a: int64}"), topic, named("bad"));
    begin_run(&collect_default);
    assert_int_equal(end_run(&err), TW_ERR_DATA);
    char name[100];
    snprintf(name, sizeof name, "%s/0", topic);
    assert_string_equal(err.file, name);
    assert_int_equal(err.record, 4);
    forget_plan();
    collect_options skip = collect_default;
    skip.policy = BAD_SKIP;
    must_plan(SOURCE_AS("format: json, columns: {a: int64}"), topic, named("bad"));
    run_rows(5, &skip);
    assert_int_equal(collect_figures.bad_records, 2);
    skip.policy = BAD_DEAD_LETTER;
    skip.dead_letter = "dead.json";
    must_plan(SOURCE_AS("format: json, columns: {a: int64}"), topic, named("bad-dead"));
    run_rows(5, &skip);
    char text[1000] = "";
    FILE *f = fopen("dead.json", "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "/0\", \"record\": 4"));
    assert_non_null(strstr(text, "/0 at offset 5\", \"record\": 2"));
}

/* Many small batches and readers at once. */
static void each_order_gives_all_rows(void **state) {
    static const char *const orders[] = {"ordered: none", "ordered: key", "ordered: all"};
    const char *topic = new_topic("many");
    char value[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(value, sizeof value, "%06d", i);
        produce_bytes(topic, 0, NULL, value, strlen(value));
    }
    produced();
    collect_options small = {.parallelism = 4, .memory_bytes = (size_t)64 << 20, .batch_rows = 100};
    for (int o = 0; o < 3; o++) {
        must_plan(o == 0 ? SOURCE_AS("ordered: none") : o == 1 ? SOURCE_AS("ordered: key") : SOURCE_AS("ordered: all"), topic,
                  named(orders[o] + 9));
        run_rows(20000, &small);
        for (int i = 0; i < 20000; i++) assert_int_equal(atoi(collected.rows[i].text), i);
    }
}

/* ---- offsets ---- */

static void a_stopped_run_goes_on_where_it_was(void **state) {
    const char *topic = new_topic("again"), *group = named("again");
    for (int i = 0; i < 10; i++) produce(topic, NULL, "x");
    produced();
    must_plan(SOURCE, topic, group);
    run_rows(10, &collect_default);
    produce(topic, NULL, "y");
    produced();
    must_plan(SOURCE, topic, group);
    run_rows(1, &collect_default);
    assert_string_equal(rows_text(), "y|~\n");
}

static void a_failed_run_commits_nothing(void **state) {
    const char *topic = new_topic("fails"), *group = named("fails");
    tw_error err;
    produce(topic, NULL, "{\"a\": 1}");
    produce(topic, NULL, "no");
    produced();
    must_plan(SOURCE_AS("format: json, columns: {a: int64}"), topic, group);
    begin_run(&collect_default);
    assert_int_equal(end_run(&err), TW_ERR_DATA);
    forget_plan();
    must_plan(SOURCE, topic, group);
    run_rows(2, &collect_default);
}

static void epochs_are_committed_one_by_one(void **state) {
    const char *topic = new_topic("epochs"), *group = named("epochs");
    tw_error err;
    struct text saved = {0}, later = {0}, note = {0};
    for (int i = 0; i < 5; i++) produce(topic, NULL, "first");
    produced();
    must_plan(SOURCE, topic, group);
    source *s = planned->pipelines[0]->source;
    assert_true(kafka_is_source(s));
    begin_run(&collect_default);
    await_rows(5);
    assert_int_equal(kafka_source_cut(s, 1, &err), TW_OK);
    for (int i = 0; i < 5; i++) produce(topic, NULL, "second");
    produced();
    await_rows(10);
    assert_int_equal(kafka_source_cut(s, 2, &err), TW_OK);
    assert_int_equal(kafka_source_save(s, 1, &saved, &err), TW_OK);
    assert_int_equal(kafka_source_save(s, 2, &later, &err), TW_OK);
    char expected[200];
    snprintf(expected, sizeof expected, "%s 0 5\n", topic);
    assert_string_equal(text_string(&saved), expected);
    snprintf(expected, sizeof expected, "%s 0 10\n", topic);
    assert_string_equal(text_string(&later), expected);
    if (kafka_source_commit(s, 1, "checkpoint-1", &err) != TW_OK) fail_msg("%s", err.message);
    assert_int_equal(kafka_source_save(s, 1, &later, &err), TW_ERR_INTERNAL);
    run_cancel(running);
    assert_int_equal(end_run(&err), TW_ERR_CANCELLED);
    forget_plan();
    /* The group stands at epoch 1. */
    must_plan(SOURCE, topic, group);
    assert_int_equal(kafka_source_note(planned->pipelines[0]->source, &note, &err), TW_OK);
    assert_string_equal(text_string(&note), "checkpoint-1");
    run_rows(5, &collect_default);
    assert_string_equal(rows_text(), "second|~\nsecond|~\nsecond|~\nsecond|~\nsecond|~\n");
    /* Wherever the group stands, a checkpoint says better. */
    must_plan(SOURCE, topic, group);
    assert_int_equal(kafka_source_load(planned->pipelines[0]->source, saved.bytes, saved.length, &err), TW_OK);
    run_rows(5, &collect_default);
    text_free(&saved);
    text_free(&later);
    text_free(&note);
}

static void saved_offsets_are_read_back(void **state) {
    tw_error err;
    rd_kafka_topic_partition_list_t *l, *again;
    struct text t = {0};
    const char *text = "a 0 0\nsome-topic 17 123456789012345678\n";
    assert_int_equal(kafka_offsets_parse(text, strlen(text), &l, &err), TW_OK);
    assert_int_equal(l->cnt, 2);
    assert_int_equal(kafka_offsets_print(l, &t, &err), TW_OK);
    assert_string_equal(text_string(&t), text);
    kafka_marks m = {0};
    assert_int_equal(kafka_marks_add(&m, 3, l, &err), TW_OK);
    assert_int_equal(kafka_marks_copy(&m, 3, "note", &again, &err), TW_OK);
    assert_memory_equal(again->elems[1].metadata, "note", 4);
    rd_kafka_topic_partition_list_destroy(again);
    assert_int_equal(kafka_marks_copy(&m, 2, NULL, &again, &err), TW_ERR_INTERNAL);
    kafka_marks_forget(&m, 2);
    assert_non_null(kafka_marks_find(&m, 3));
    kafka_marks_free(&m);
    text_free(&t);
    static const char *const wrong[] = {"a 0", "a 0 0", "a 0 -1\n", "a -1 5\n", "a 0 5 6\n", "\n", "a 0 5x\n"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(kafka_offsets_parse(wrong[i], strlen(wrong[i]), &l, &err), TW_ERR_DATA);
    assert_int_equal(kafka_offsets_parse("a 0 0\0\n", 7, &l, &err), TW_ERR_DATA);
}

/* ---- the sink ---- */

#define COPY "{source: {kafka: {brokers: '%B', topic: '%1', group: '%1', options: {%O}}}, sink: {kafka: {topic: '%2', key: key}}}"

static void rows_are_messages(void **state) {
    const char *topic = new_topic("out");
    tw_error err;
    must_plan("{source: {generate: {kind: events, rows: 5000, keys: 7}}, sink: {kafka: {brokers: '%B', topic: '%1', format: csv}}}",
              topic, "");
    begin_run(&collect_default);
    if (end_run(&err) != TW_OK) fail_msg("%s", err.message);
    assert_int_equal(collect_figures.rows_out, 5000);
    forget_plan();
    must_plan(SOURCE_AS("format: csv, columns: {ts: timestamp, key: int64, value: float64}"), topic, named("out"));
    run_rows(5000, &collect_default);
}

static void keys_and_nulls_are_copied(void **state) {
    const char *from = new_topic("copy"), *to = new_topic("copied");
    tw_error err;
    produce(from, "k", "v");
    produce(from, NULL, "no key");
    produce(from, "no value", NULL);
    produced();
    must_plan(COPY, from, to);
    begin_run(&collect_default);
    await_rows_in(3);
    run_stop(running);
    if (end_run(&err) != TW_OK) fail_msg("%s", err.message);
    assert_int_equal(collect_figures.rows_out, 3);
    forget_plan();
    must_plan(SOURCE, to, named("copied"));
    run_rows(3, &collect_default);
    assert_string_equal(rows_text(), "no key|~\nv|k\n~|no value\n");
}

/* A full queue lets nobody in, and wakes whoever waits. */
static void a_small_memory_holds_the_rows_back(void **state) {
    const char *topic = new_topic("full");
    tw_error err;
    collect_options small = {.parallelism = 2, .memory_bytes = (size_t)32 << 20, .batch_rows = 1000};
    must_plan("{source: {generate: {kind: records, rows: 100000}}, sink: {kafka: {brokers: '%B', topic: '%1', format: records}}}",
              topic, "");
    begin_run(&small);
    if (end_run(&err) != TW_OK) fail_msg("%s", err.message);
    assert_int_equal(collect_figures.rows_out, 100000);
    assert_int_equal(collect_figures.bytes_out, 10000000);
    forget_plan();
}

static void too_long_a_row_is_a_bad_record(void **state) {
    const char *from = new_topic("long"), *to = new_topic("long-out");
    tw_error err;
    char *value = calloc(1, 5000);
    memset(value, 'x', 4999);
    produce(from, NULL, "short");
    produce(from, NULL, value);
    produce(from, NULL, "shorter");
    produced();
    free(value);
    static const char text[] = "{source: {kafka: {brokers: '%B', topic: '%1', group: '%1', options: {%O}}},"
                               " sink: {kafka: {topic: '%2', options: {message.max.bytes: 3000}}}}";
    must_plan(text, from, to);
    begin_run(&collect_default);
    assert_int_equal(end_run(&err), TW_ERR_DATA);
    assert_int_equal(err.record, 2);
    assert_non_null(strstr(err.message, "message.max.bytes"));
    forget_plan();
    collect_options skip = collect_default;
    skip.policy = BAD_SKIP;
    must_plan(text, from, to);
    begin_run(&skip);
    await_rows_in(3);
    run_stop(running);
    assert_int_equal(end_run(&err), TW_OK);
    assert_int_equal(collect_figures.bad_records, 1);
    assert_int_equal(collect_figures.rows_out, 2);
    forget_plan();
}

static void transactions_hold_rows_and_offsets(void **state) {
    const char *from = new_topic("tx"), *to = new_topic("tx-out");
    tw_error err;
    struct text note = {0};
    for (int i = 0; i < 100; i++) produce(from, NULL, "x");
    produced();
    must_plan(COPY, from, to);
    source *s = planned->pipelines[0]->source;
    sink *k = planned->sinks[0];
    assert_true(kafka_is_sink(k));
    assert_int_equal(kafka_sink_transactional(k, from, &err), TW_OK);
    begin_run(&collect_default);
    await_rows_in(100);
    pause_ms(100); /* they are pushed */
    assert_int_equal(kafka_source_cut(s, 1, &err), TW_OK);
    if (kafka_sink_prepare(k, &err) != TW_OK) fail_msg("%s", err.message);
    if (kafka_sink_commit(k, &s, 1, 1, "tx-1", &err) != TW_OK) fail_msg("%s", err.message);
    for (int i = 0; i < 50; i++) produce(from, NULL, "y");
    produced();
    await_rows_in(150);
    pause_ms(100);
    if (kafka_sink_abort(k, &err) != TW_OK) fail_msg("%s", err.message);
    run_cancel(running);
    assert_int_equal(end_run(&err), TW_ERR_CANCELLED);
    forget_plan();
    if (mock) return; /* it keeps neither: a real broker must show it */
    must_plan(COPY, from, to);
    assert_int_equal(kafka_source_note(planned->pipelines[0]->source, &note, &err), TW_OK);
    assert_string_equal(text_string(&note), "tx-1");
    text_free(&note);
    begin_run(&collect_default); /* without transactions: the rows after the offsets, once */
    await_rows_in(50);
    run_stop(running);
    if (end_run(&err) != TW_OK) fail_msg("%s", err.message);
    forget_plan();
    must_plan(SOURCE, to, named("tx-reader"));
    run_rows(150, &collect_default);
    for (int i = 0; i < 150; i++) assert_string_equal(collected.rows[i].text, i < 100 ? "x|~" : "y|~");
}

static void what_cannot_be_delivered_fails_the_run(void **state) {
    const char *topic = new_topic("fails-out");
    tw_error err;
    rd_kafka_mock_push_request_errors(mock, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    must_plan("{source: {generate: {kind: events, rows: 100}}, sink: {kafka: {brokers: '%B', topic: '%1', format: json}}}", topic, "");
    begin_run(&collect_default);
    assert_int_equal(end_run(&err), TW_ERR_IO);
    if (!strstr(err.message, "could not be delivered")) fail_msg("%s", err.message);
    forget_plan();
    rd_kafka_mock_clear_request_errors(mock, 0);
}

/* ---- what is wrong with a job ---- */

static void wrong_jobs_are_told(void **state) {
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {SOURCE_WITH("fetch.wait.max: s3cret"), "did you mean 'fetch.wait.max.ms'?"},
        {SOURCE_WITH("fetch.wait.max.ms: s3cret"), "does not take this value for 'fetch.wait.max.ms'"},
        {SOURCE_WITH("group.id: s3cret"), "it is the option group"},
        {SOURCE_AS("format: json"), "needs its columns"},
        {SOURCE_AS("format: csv, header: true, columns: {a: int64}"), "a message has no header"},
        {"{source: {kafka: {brokers: '%B', topic: 'a b', group: g}}, sink: collect}", "a topic's name"},
        {"{source: {kafka: {brokers: '%B', topic: [], group: g}}, sink: collect}", "names no topic"},
        {"{source: {generate: events}, sink: {kafka: {topic: t, format: json}}}", "no kafka source"},
        {"{source: {generate: events}, sink: {kafka: {brokers: b, topic: t}}}", "binary writes the column"},
        {"{source: {generate: events}, sink: {kafka: {brokers: b, topic: t, format: json, key: keys}}}", "did you mean 'key'?"},
        {"{source: {generate: events}, sink: {kafka: {brokers: b, topic: t, format: json, key: key}}}", "a key is a string"},
        {"{source: {generate: events}, sink: {kafka: {brokers: b, topic: t, format: json, options: {transactional.id: x}}}}",
         "run.guarantee decides"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        tw_error err;
        assert_int_equal(plan_text(wrong[i].text, "t", "g", &err), TW_ERR_JOB);
        if (!strstr(err.message, wrong[i].says)) fail_msg("%s: %s", wrong[i].text, err.message);
        assert_null(strstr(err.message, "s3cret"));
        assert_true(err.line > 0);
        forget_plan();
    }
}

static void an_unknown_topic_is_told(void **state) {
    tw_error err;
    must_plan(SOURCE, named("nothing-here"), "g");
    begin_run(&collect_default);
    assert_int_equal(end_run(&err), TW_ERR_IO);
    if (!strstr(err.message, "have no topic")) fail_msg("%s", err.message);
    forget_plan();
}

/* A first join of a group takes the mock cluster three seconds, a second one a minute: what needs more than one
 * run is left to real brokers. */
#define ANYWHERE                                                                                       \
    cmocka_unit_test(saved_offsets_are_read_back), cmocka_unit_test(wrong_jobs_are_told),              \
        cmocka_unit_test(a_small_memory_holds_the_rows_back),                                          \
        cmocka_unit_test(transactions_hold_rows_and_offsets)

int main(void) {
    const struct CMUnitTest with_mock[] = {ANYWHERE, cmocka_unit_test(what_cannot_be_delivered_fails_the_run)};
    const struct CMUnitTest with_brokers[] = {
        ANYWHERE,
        cmocka_unit_test(messages_are_rows),
        cmocka_unit_test(large_messages_keep_their_bytes),
        cmocka_unit_test(formats_are_decoded),
        cmocka_unit_test(bad_records_have_their_offset),
        cmocka_unit_test(each_order_gives_all_rows),
        cmocka_unit_test(a_stopped_run_goes_on_where_it_was),
        cmocka_unit_test(a_failed_run_commits_nothing),
        cmocka_unit_test(epochs_are_committed_one_by_one),
        cmocka_unit_test(rows_are_messages),
        cmocka_unit_test(keys_and_nulls_are_copied),
        cmocka_unit_test(too_long_a_row_is_a_bad_record),
        cmocka_unit_test(an_unknown_topic_is_told),
    };
    if (getenv("THALWEG_KAFKA_BROKERS")) return cmocka_run_group_tests(with_brokers, start_brokers, stop_brokers);
    return cmocka_run_group_tests(with_mock, start_brokers, stop_brokers);
}
