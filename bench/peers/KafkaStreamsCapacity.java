import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.net.Socket;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * Kafka Streams under thalweg bench capacity (bench/grids/peers.yaml): BROKERS/TOPIC RESULTS CPU_MS THREADS FOLDER.
 * Spends the processor time on each message and sends the heads of marked ones back.
 */
public class KafkaStreamsCapacity {
    static final ThreadMXBean threads = ManagementFactory.getThreadMXBean();

    static void burn(long nanoseconds) {
        long end = threads.getCurrentThreadCpuTime() + nanoseconds;
        while (nanoseconds > 0 && threads.getCurrentThreadCpuTime() < end) {}
    }

    public static void main(String[] args) throws Exception {
        int slash = args[0].lastIndexOf('/'), colon = args[1].lastIndexOf(':');
        Socket back = new Socket(args[1].substring(0, colon), Integer.parseInt(args[1].substring(colon + 1)));
        back.setTcpNoDelay(true);
        OutputStream out = back.getOutputStream();
        long nanoseconds = (long) (Double.parseDouble(args[2]) * 1e6);
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[0].substring(slash + 1));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0].substring(0, slash));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[3]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[4] + "/state");
        p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        StreamsBuilder b = new StreamsBuilder();
        b.<byte[], byte[]>stream(args[0].substring(slash + 1)).foreach((key, value) -> {
            burn(nanoseconds);
            if (value[8] != 'M') return;
            byte[] line = java.util.Arrays.copyOf(value, 30);
            line[29] = '\n';
            try {
                synchronized (out) { out.write(line); }
            } catch (java.io.IOException e) {
                System.exit(1);
            }
        });
        KafkaStreams streams = new KafkaStreams(b.build(), p);
        streams.setStateListener((now, before) -> { if (now == KafkaStreams.State.RUNNING) System.out.println("running"); });
        streams.start();
    }
}
