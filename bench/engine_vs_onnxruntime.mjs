// Measures bench_engine and ONNX Runtime in turns, and prints a table of medians and ratios.
//
// Options: --engine PATH  bench_engine; --folder DIR  where onnxruntime-node is installed and networks are written;
// --rounds N (6) turns of each; --runs N (5) runs a turn; --input 224,32; --batch 1,8; --threads 1,2; --json FILE;
// --take median|best.
//
// Both run the same graphs with the same (random) weights on the same cores, in turns of a few runs, so that whatever else the
// machine does falls on all. A ratio is the median over rounds of ONNX Runtime's median time in the round by the engine's. On a
// machine with other work, where two threads wait for each other's turn, `--take best` compares the fastest runs instead.
import { spawn, execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const options = { rounds: '6', runs: '5', input: '224', batch: '1,8', threads: '1,2', take: 'median' };
for (let i = 2; i < process.argv.length; i += 2) options[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];

const folder = resolve(options.folder);
const onnxruntime = createRequire(`${folder}/`)('onnxruntime-node');
const numbers = (text) => text.split(',').map(Number);
const architectures = (options.arch ?? 'resnet50,mobilenetv2,efficientnet_b0').split(',');

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const best = (values) => Math.min(...values);
const take = options.take === 'best' ? best : median;

// One long-lived bench_engine for each precision, so that an engine is compiled once.
class Engine {
  constructor(precision) {
    this.precision = precision;
    this.process = spawn(resolve(options.engine), ['--serve'], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }
  async measure({ arch, input, batch, threads }, runs) {
    this.process.stdin.write(`${arch} ${input} ${batch} ${threads} ${this.precision} ${runs}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error('bench_engine stopped');
    return JSON.parse(value).times_ms;
  }
  close() {
    this.process.stdin.end();
  }
}

class OnnxRuntime {
  async measure({ arch, input, batch, threads }, runs) {
    const key = `${arch} ${input} ${threads}`;
    if (this.key !== key) {
      await this.session?.release();
      this.session = await onnxruntime.InferenceSession.create(`${folder}/${arch}-${input}.onnx`, {
        intraOpNumThreads: threads, interOpNumThreads: 1, graphOptimizationLevel: 'all',
      });
      this.key = key;
    }
    const images = Float32Array.from({ length: batch * 3 * input * input }, () => Math.random() * 2 - 1);
    const feeds = { [this.session.inputNames[0]]: new onnxruntime.Tensor('float32', images, [batch, 3, input, input]) };
    const times = [];
    for (let run = -2; run < runs; run++) {
      const start = performance.now();
      await this.session.run(feeds);
      if (run >= 0) times.push((performance.now() - start) / batch);
    }
    return times;
  }
}

execFileSync(resolve(options.engine), ['--save', folder]);
const parties = { onnxruntime: new OnnxRuntime(), fp32: new Engine('fp32'), bf16: new Engine('bf16') };
const results = [];

console.log(`ONNX Runtime ${onnxruntime.env.versions?.node ?? ''} against the engine: milliseconds an image, ${take === best ? 'best runs' : 'medians'}`);
console.log('architecture      input batch threads | onnxruntime     fp32  ratio     bf16  ratio');
for (const arch of architectures) {
  for (const input of numbers(options.input)) {
    for (const batch of numbers(options.batch)) {
      for (const threads of numbers(options.threads)) {
        const task = { arch, input, batch, threads };
        const rounds = { onnxruntime: [], fp32: [], bf16: [] };
        const all = { onnxruntime: [], fp32: [], bf16: [] };
        for (let round = 0; round < Number(options.rounds); round++) {
          for (const [name, party] of Object.entries(parties)) {
            const times = await party.measure(task, Number(options.runs));
            rounds[name].push(median(times));
            all[name].push(...times);
            await sleep(20); // until the last one's threads have stopped spinning
          }
        }
        const ratio = (name) => (take === best
          ? best(all.onnxruntime) / best(all[name])
          : median(rounds.onnxruntime.map((time, i) => time / rounds[name][i])));
        const row = {
          ...task, onnxruntime_ms: take(all.onnxruntime), fp32_ms: take(all.fp32), fp32_ratio: ratio('fp32'),
          bf16_ms: take(all.bf16), bf16_ratio: ratio('bf16'),
        };
        results.push(row);
        console.log([
          arch.padEnd(16), String(input).padStart(6), String(batch).padStart(5), String(threads).padStart(7), '|',
          row.onnxruntime_ms.toFixed(3).padStart(11), row.fp32_ms.toFixed(3).padStart(8), `${row.fp32_ratio.toFixed(2)}x`.padStart(6),
          row.bf16_ms.toFixed(3).padStart(8), `${row.bf16_ratio.toFixed(2)}x`.padStart(6),
        ].join(' '));
      }
    }
  }
}
parties.fp32.close();
parties.bf16.close();
if (options.json) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
