// Spark Structured Streaming over a folder of files, under thalweg bench capacity (bench/grids/peers.yaml): FOLDER, RESULTS,
// CPU_MS in the environment. Spends the processor time on each message and sends the heads of marked ones back.
import org.apache.spark.sql.streaming.Trigger
import org.apache.spark.sql.Row
spark.sparkContext.setLogLevel("ERROR")
val results = sys.env("RESULTS").split(":")
val nanoseconds = (sys.env("CPU_MS").toDouble * 1e6).toLong

object Back extends Serializable { // one connection a process
  @transient lazy val out = new java.net.Socket(results(0), results(1).toInt).getOutputStream
  def send(heads: String): Unit = synchronized { out.write(heads.getBytes); out.flush() }
}
def burn(nanoseconds: Long): Unit = {
  val threads = java.lang.management.ManagementFactory.getThreadMXBean
  val end = threads.getCurrentThreadCpuTime + nanoseconds
  while (nanoseconds > 0 && threads.getCurrentThreadCpuTime < end) {}
}

println("listening")
spark.readStream.option("maxFilesPerTrigger", 10000).text(sys.env("FEED")).writeStream.trigger(Trigger.ProcessingTime(0)).foreachBatch {
  (batch: org.apache.spark.sql.DataFrame, id: Long) => batch.foreachPartition { (rows: Iterator[Row]) =>
    val heads = new StringBuilder
    rows.foreach { row =>
      val line = row.getString(0)
      burn(nanoseconds)
      if (line.charAt(8) == 'M') heads.append(line, 0, 29).append('\n')
    }
    if (heads.nonEmpty) Back.send(heads.toString)
  }
}.option("checkpointLocation", sys.env("FOLDER") + "/checkpoint").start().awaitTermination()
