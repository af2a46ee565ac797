-- How much the target says, in words, by condition and phase.
SELECT condition_id, mode, phase, count(*) AS replies,
       round(median(len(string_split(trim(text), ' ')))) AS median_words, max(length(text)) AS longest_characters
FROM transcripts
WHERE role = 'assistant' AND NOT prefill
GROUP BY ALL
ORDER BY ALL
