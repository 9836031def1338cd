import java.io.Serializable;
import java.time.Duration;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;

/** Flink, for bench/workloads/window.py: ROWS KEYS THREADS CHECKPOINT_FOLDER; rows 10 us of event time apart. */
public class FlinkWindow {
    public static class Event implements Serializable {
        public long ts, key;
        public Event() {}
        public Event(long ts, long key) { this.ts = ts; this.key = key; }
    }

    public static class Count implements AggregateFunction<Event, Long, Long> {
        public Long createAccumulator() { return 0L; }
        public Long add(Event event, Long n) { return n + 1; }
        public Long getResult(Long n) { return n; }
        public Long merge(Long a, Long b) { return a + b; }
    }

    public static class Sum extends RichMapFunction<Long, Long> {
        private final LongCounter rows = new LongCounter();
        public void open(OpenContext context) { getRuntimeContext().addAccumulator("rows", rows); }
        public Long map(Long n) { rows.add(n); return n; }
    }

    public static void main(String[] args) throws Exception {
        long rows = Long.parseLong(args[0]), keys = Long.parseLong(args[1]);
        Configuration settings = new Configuration();
        settings.setString("execution.checkpointing.interval", "1 s");
        settings.setString("execution.checkpointing.dir", "file://" + args[3]);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        env.setParallelism(Integer.parseInt(args[2]));
        env.getConfig().enableObjectReuse();
        // The finaliser of MurmurHash3 (Appleby, 2011): keys in no order, made quickly.
        GeneratorFunction<Long, Event> make = i -> {
            long z = i * 0xff51afd7ed558ccdL;
            z = (z ^ z >>> 33) * 0xc4ceb9fe1a85ec53L;
            return new Event(i / 100, ((z ^ z >>> 33) >>> 1) % keys);
        };
        env.fromSource(new DataGeneratorSource<>(make, rows, TypeInformation.of(Event.class)),
                       WatermarkStrategy.<Event>forMonotonousTimestamps().withTimestampAssigner((event, before) -> event.ts), "events")
            .keyBy(event -> event.key)
            .window(TumblingEventTimeWindows.of(Duration.ofSeconds(1)))
            .aggregate(new Count())
            .map(new Sum())
            .sinkTo(new DiscardingSink<>());
        JobExecutionResult result = env.execute();
        System.out.println("JOB_SECONDS=" + result.getNetRuntime() / 1e3);
        System.out.println("ROWS=" + result.getAccumulatorResult("rows"));
    }
}
