/**
 * Sums vitest's JSON reports, names what failed and why, and prints `N passed, N failed` as the last line.
 * Arguments: failed steps, then the reports.
 */
import { readFileSync } from 'node:fs'

const [failedSteps, ...reports] = process.argv.slice(2)
let passed = 0
let failed = 0

/** The first lines of a failure: what a reader of a log's end needs. */
const told = (message) => message.split('\n').slice(0, 12).join('\n  ')

const failuresOf = ({ name, status, message, assertionResults }) => {
  if (status !== 'failed') return []
  const tests = assertionResults.filter((test) => test.status === 'failed')
  if (tests.length === 0) return [`${name}\n  ${told(message)}`]
  return tests.map((test) => `${name} > ${test.fullName}\n  ${test.failureMessages.map(told).join('\n  ')}`)
}

for (const path of reports) {
  try {
    const report = JSON.parse(readFileSync(path, 'utf8'))
    passed += report.numPassedTests
    failed += report.numFailedTests
    const skipped = report.numPendingTests + report.numTodoTests
    console.log(`${path}: ${report.numPassedTests} passed, ${report.numFailedTests} failed, ${skipped} skipped`)
    for (const failure of report.testResults.flatMap(failuresOf)) console.log(`FAILED ${failure}`)
    // A file that does not load has no failing test of its own.
    if (report.numFailedTests === 0) failed += report.testResults.filter((file) => file.status === 'failed').length
  } catch (error) {
    console.log(`${path}: no report (${error.message})`)
    failed += 1
  }
}
if (Number(failedSteps) > 0 && failed === 0) failed = Number(failedSteps)
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
